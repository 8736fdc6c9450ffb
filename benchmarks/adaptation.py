"""What is left of a walk after the robot drifts, and how soon it is back, by what its policy has learned with.

    python -m benchmarks.adaptation [--only a1-context] [--seeds 0 1 2]
    perdure bench adaptation --seed 0 --n 60              # Minitaur with drifts and a long history; n: robot minutes

Policies learn for a robot hour. ``none``: on a robot that does not drift. ``randomised``: on one with faults of the
training ranges that come and go (`benchmarks._drifting`). ``context``: the same, with an observation that reaches back
as far as a step takes, from which a policy can tell what has drifted (rapid motor adaptation without a second
network). ``grbal``: what the robot of ``randomised`` has stored teaches meta-learned models, and walks are planned on
these as the last moments have adapted them (`benchmarks._planned_walk`). ``zoo``: the policy that perdure brings along,
whose seeds are of its walks alone; ``checked``: the same, and what a check-up (`meta.checkup`) finds of the drift is
compensated for from its beginning on, as if it took no time, and the battery always. ``faults`` and
``faults-checked``: the same of further policies, a seed each, that learned from nothing and then with faults for as
long as the zoo's did. ``finetuned``: the zoo's policy before the drift, and from its beginning on one that has learned
on from it under this drift for five robot minutes; it stays as it is where a run refuses the battery.

Each then walks forward: ten seconds, then a drift of a kind and size that no training had comes in, then thirty more.
Return is the mean reward of a step; after a fall it is zero. With ``PERDURE_BENCH_HOMES`` a home is kept there, and a
run that was cut off goes on.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agent.attempts import AttemptRunner, Interrupt
from agent.balance import Balance
from agent.checkups import drift_of
from agent.clock import SimulatedClock
from agent.compensated_robot import CompensatedRobot
from agent.config import Config
from agent.loop import Act, ControlLoop, Tick
from agent.policies import ZOO, find_policy, zoo_settings
from agent.postures import Postures
from agent.robots import load_robot
from agent.safety import ActionGate, Monitors
from agent.states import Event
from agent.stored_config import stored_config
from benchmarks import _daemon
from benchmarks._drifting import learn
from benchmarks._planned_walk import PlannedWalk, WalkModel, attempts_of
from benchmarks._study import Study, main
from benchmarks.checkup import check
from meta.diagnosis import COMPARED, Diagnosis, diagnosis_path
from persistence.home import Home
from sim.drift import Drift, DriftSchedule
from sim.drift_presets import HELD_OUT, preset
from sim.robot import Array, FloatArray, FrameLayout, Observation, RobotSpec
from sim.simulated_robot import SimulatedRobot
from sim.state import Pose
from sim.workspace import Workspace
from skills.decisions import DecisionController
from skills.experience import transitions
from skills.policy import MlpPolicy, PolicyWeights
from skills.policy_control import PolicyDecision
from skills.walk import WALKING_SKILLS, Walk

DEFAULT_N = 60
WALK = WALKING_SKILLS[0]
DRIFTS = ("half_motor", "battery_side", *HELD_OUT)
LOW_BATTERY = ("battery_side", "held_out_battery")
"""Below what the self-test of a run asks for."""
EVALUATION_SEEDS = (1000, 1001, 1002, 1003, 1004)
MINUTES_PER_SEED = 12
"""A policy that learned for less than an hour is judged with fewer of them."""
BEFORE_S, AFTER_S = 10.0, 30.0
FROM_S = 3.0
"""Of the time before the drift, what counts begins here: the robot is on its way then."""
WINDOW_S = 2.0
BACK = 0.9
"""A walk is back at the first moment from which on it earns this share of what it did, over `WINDOW_S`."""
DECIMALS = 4
LONG_HISTORY = 12
"""Policy steps, about half a second."""
ROBOTS = ("minitaur", "a1")
METHODS: Mapping[str, Mapping[str, Any]] = {
    "none": {"drift": False, "set": {}},
    "randomised": {"drift": True, "set": {}},
    "context": {"drift": True, "set": {"learner.history": LONG_HISTORY}},
    "grbal": {"drift": True, "set": {}, "meta_steps": 2000},
}
FAULTS: Mapping[str, Mapping[str, Any]] = {
    "minitaur": {"alone_min": 60, "faults_min": 180, "set": {"learner.updates_per_step": 1.0}},
    "a1": {
        "alone_min": 15,
        "faults_min": 60,
        "set": {"learner.updates_per_step": 1.0, "workspace.size_m": 1000.0},
    },
}
"""As long as the zoo's policies learned, alone and then with faults, with these settings in the second part."""
Float = NDArray[np.float64]
Make = Callable[[Walk, RobotSpec, Config, int], DecisionController]
"""Makes the controller of one walk, whose number is the last argument."""


def run(seed: int, n: int = DEFAULT_N) -> dict[str, Any]:
    """Learn for ``n`` robot minutes with drifts and a long history, then judge. Returns what `cell` returns."""
    return cell({"robot": ROBOTS[0], "minutes": n, **METHODS["context"]}, seed)


def cell(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """One way to learn, one seed.

    Returns:
        ``recovered_share`` (return after the drift over that before, mean over the six held-out drifts),
        ``recovery_s_median`` and ``back_share`` (of the walks with a motor at half strength, when they were back, and
        how many ever were), ``unadapted_share`` (the share that such walks keep in the first second), ``falls``, and
        ``drifts`` with what `judge` returns.
    """
    robot = settings["robot"]
    if settings.get("zoo"):
        config = Config.load(None, zoo_settings(robot, WALK.family.name))
        seeds = [each + len(EVALUATION_SEEDS) * seed for each in EVALUATION_SEEDS]
        weights = find_policy("zoo", robot, WALK, Path())
        if minutes := settings.get("finetuned_min"):
            learned = [drift for drift in DRIFTS if drift not in LOW_BATTERY]
            tuned = dict.fromkeys(DRIFTS) | {drift: _finetuned(robot, drift, minutes, seed) for drift in learned}
            makes = {drift: by_policy(weights, later) for drift, later in tuned.items()}
            return summary(
                {drift: judge(robot, make, config, seeds, drifts=(drift,))[drift] for drift, make in makes.items()}
            )
        return summary(judge(robot, by_policy(weights), config, seeds, checked=settings.get("checked", False)))
    if faults := settings.get("faults"):
        with _daemon.kept_home(f"adaptation-{robot}-faults-seed{seed}") as home:
            weights, config = _learned_with_faults(home, robot, faults, seed)
        return summary(judge(robot, by_policy(weights), config, checked=settings.get("checked", False)))
    way = "-".join((robot, "drifts" if settings["drift"] else "none", *map(str, settings["set"].values())))
    with _daemon.kept_home(f"adaptation-{way}-seed{seed}") as home:
        learn(home, robot, settings["minutes"], seed, settings["set"], drifts=settings["drift"])
        seeds = list(EVALUATION_SEEDS[: max(1, settings["minutes"] // MINUTES_PER_SEED)])
        if meta_steps := settings.get("meta_steps"):
            make = by_plan(home, robot, meta_steps, seed)
        else:
            make = by_policy(find_policy("latest", robot, WALK, home))
        found = judge(robot, make, stored_config(home), seeds)
    return summary(found)


def _learned_with_faults(home: Path, robot: str, way: Mapping[str, Any], seed: int) -> tuple[PolicyWeights, Config]:
    """A policy that learned in a way of `FAULTS`, and the settings of its last run."""
    learn(home, robot, way["alone_min"], seed, {}, drifts=False)
    changes = {**way["set"], "sim.drift": str(ZOO / "faults.toml")}
    learn(home, robot, way["alone_min"] + way["faults_min"], seed, changes, drifts=False)
    return find_policy("latest", robot, WALK, home), stored_config(home)


def _finetuned(robot: str, drift: str, minutes: float, seed: int) -> PolicyWeights:
    """The zoo's policy after it has learned on under a drift."""
    with _daemon.kept_home(f"adaptation-{robot}-finetuned-{drift}-seed{seed}") as home:
        learn(home, robot, minutes, seed, {"run.start": "zoo", "sim.drift": drift}, drifts=False)
        return find_policy("latest", robot, WALK, home)


def by_policy(weights: PolicyWeights, later: PolicyWeights | None = None) -> Make:
    """Walks of a policy, and from the drift on of a ``later`` one, where there is one."""

    def make(skill: Walk, spec: RobotSpec, config: Config, number: int) -> DecisionController:
        del number
        learner = config.learner
        before, after = (
            PolicyDecision(skill, spec, MlpPolicy(each), None, learner.history, learner.past_actions)
            for each in (weights, later or weights)
        )
        steps = 0

        def decide(observation: Observation, phase_rad: float, last: NDArray[np.float32]) -> FloatArray:
            nonlocal steps
            steps += 1
            proposed = [policy(observation, phase_rad, last) for policy in (before, after)]  # both see all of the past
            return proposed[steps > BEFORE_S * spec.policy_rate_hz]

        actuator = skill.family.actuator(spec, config.control.dt_s)
        return DecisionController(
            skill.family, actuator, decide, skill.prior_action(spec), decimation=config.control.decimation
        )

    return make


def by_plan(home: Path, robot: str, meta_steps: int, seed: int) -> Make:
    """Walks that are planned on models which a home's attempts have taught."""
    torch.set_num_threads(1)
    with load_robot(robot, 0) as body:
        spec = body.spec
    model = WalkModel(attempts_of(spec, Home(home).episodes, WALK.family.name), meta_steps, seed)

    def make(skill: Walk, spec: RobotSpec, config: Config, number: int) -> DecisionController:
        actuator = skill.family.actuator(spec, config.control.dt_s)
        decide = PlannedWalk(skill, spec, model.after, number)
        return DecisionController(
            skill.family, actuator, decide, skill.prior_action(spec), decimation=config.control.decimation
        )

    return make


def judge(
    robot: str,
    make: Make,
    config: Config,
    seeds: Sequence[int] = EVALUATION_SEEDS,
    *,
    checked: bool = False,
    drifts: Sequence[str] = DRIFTS,
) -> dict[str, dict[str, Any]]:
    """Walks under each drift; ``checked``: what a check-up finds is compensated for.

    Returns:
        By drift, a number per evaluation seed: ``before`` (return), ``share`` (return after it over ``before``),
        ``first_s`` (the share of the first second), ``back_s`` (when the walk was back; None: never), ``fell``;
        ``found``, what check-ups said, where there were any.
    """
    out: dict[str, dict[str, Any]] = {}
    usual = {seed: usual_features(robot, seed) for seed in seeds} if checked else {}
    for drift in drifts:
        found = {seed: found_by_checkup(robot, drift, seed, features) for seed, features in usual.items()}
        walks = [walk(robot, make, config, drift, seed, found.get(seed)) for seed in seeds]
        out[drift] = {
            "before": [round(each.before, DECIMALS) for each in walks],
            "share": [round(each.share(AFTER_S), DECIMALS) for each in walks],
            "first_s": [round(each.share(1.0), DECIMALS) for each in walks],
            "back_s": [each.back_s for each in walks],
            "fell": [each.fell for each in walks],
        } | ({"found": [[each.to_dict() for each in named] for named in found.values()]} if checked else {})
    return out


def summary(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """See `cell`."""
    half = found["half_motor"]
    back = [np.inf if back_s is None else back_s for back_s in half["back_s"]]
    median = float(np.median(back))
    return {
        "recovered_share": float(np.mean([np.mean(found[name]["share"]) for name in HELD_OUT])),
        "recovery_s_median": median if np.isfinite(median) else None,
        "back_share": float(np.mean(np.isfinite(back))),
        "unadapted_share": float(np.mean(half["first_s"])),
        "battery_side_share": float(np.mean(found["battery_side"]["share"])),
        "falls": sum(sum(each["fell"]) for each in found.values()),
        "drifts": dict(found),
    }


@dataclass(frozen=True)
class Course:
    """What each step of a walk earned, the drift coming in at `BEFORE_S`."""

    rewards: Float
    """Shape: (T,); shorter than planned where the robot fell."""
    rate_hz: float

    @property
    def fell(self) -> bool:
        """Whether it ended before its time."""
        return len(self.rewards) < round((BEFORE_S + AFTER_S) * self.rate_hz) - 1

    @property
    def before(self) -> float:
        """Mean reward of a step before the drift."""
        first, last = round(FROM_S * self.rate_hz), round(BEFORE_S * self.rate_hz)
        return float(self.rewards[first:last].mean()) if len(self.rewards) > first else 0.0

    def share(self, seconds: float) -> float:
        """What it earns in so many seconds after the drift, of what it earned before; at least 0."""
        return (
            max(0.0, float(self._after[: round(seconds * self.rate_hz)].mean()) / self.before) if self.before else 0.0
        )

    @property
    def back_s(self) -> float | None:
        """When it was back; None: never."""
        n = round(WINDOW_S * self.rate_hz)
        means = np.convolve(self._after, np.ones(n) / n, mode="valid")
        back = np.flatnonzero(means >= BACK * self.before)
        return float(back[0] / self.rate_hz) if len(back) and self.before > 0.0 else None

    @property
    def _after(self) -> Float:
        """Rewards after the drift, zeros after a fall."""
        begin, n = round(BEFORE_S * self.rate_hz), round(AFTER_S * self.rate_hz)
        rest = self.rewards[begin : begin + n]
        return np.concatenate((rest, np.zeros(n - len(rest))))


def usual_features(robot: str, seed: int) -> list[Array]:
    """What check-ups of a robot measure while nothing has drifted."""
    return [check(robot, 100 * seed + number) for number in range(COMPARED)]


def found_by_checkup(robot: str, drift: str, seed: int, usual: Sequence[Array]) -> tuple[Drift, ...]:
    """What a check-up finds under a drift."""
    simulated = load_robot(robot, 0)
    assert isinstance(simulated, SimulatedRobot)
    with simulated:
        drifts = preset(drift, simulated.drift_subject)
    found = Diagnosis.read(diagnosis_path(robot)).diagnose(usual, check(robot, 100 * seed + COMPARED, *drifts))
    return () if found is None else (drift_of(found.cause),)


def walk(
    robot: str,
    make: Make,
    config: Config,
    drift: str,
    seed: int,
    compensated: Sequence[Drift] | None = None,
) -> Course:
    """One walk on an endless floor, as the daemon makes attempts: gate, monitors and catches included. From the drift
    on these are ``compensated`` for, and the battery always; None: nothing is.
    """
    machine = load_robot(robot, seed)
    assert isinstance(machine, SimulatedRobot)
    config = config.for_robot(machine.spec)
    dt_s, spec, floor = config.control.dt_s, machine.spec, Workspace(size_m=1000.0)
    with machine:
        machine.place(Pose.standing())
        monitors = Monitors(spec, floor, config.safety, 1.0 / dt_s)
        driven = CompensatedRobot(machine) if compensated is not None else machine
        loop = ControlLoop(driven, SimulatedClock(machine, dt_s), ActionGate(spec, dt_s), monitors)
        balance = Balance.configured(spec, config.safety)
        known, begins_s = False, np.inf

        def tick(act: Act) -> Tick:
            nonlocal known
            if not known and machine.time_s >= begins_s and isinstance(driven, CompensatedRobot):
                driven.compensate(compensated or ())
                known = True
            now = loop.tick(lambda observation: balance.command(observation) or act(observation))
            if now.alerts.fallen or balance.failed(now.observation):
                raise Interrupt(Event.FALL_PREDICTED, "fallen")
            return now

        Postures(loop, loop.tick).stand(0.5)
        skill = copy.copy(WALK)
        skill.horizon_s = BEFORE_S + AFTER_S
        begins_s = machine.time_s + BEFORE_S
        drifts = preset(drift, machine.drift_subject, begins_s=begins_s)
        machine.follow_drift(DriftSchedule(drifts, spec.joint_names), machine.time_s)
        result = AttemptRunner(loop, floor, tick).run(skill, make(skill, spec, config, seed))
    assert result.arrays is not None
    return Course(skill.reward(transitions(FrameLayout.of(spec), result.arrays)), float(spec.policy_rate_hz))


FIGURES = ("recovered_share", "back_share", "unadapted_share", "battery_side_share")
STUDY = Study(
    name="adaptation",
    module="benchmarks.adaptation",
    variants={
        f"{robot}-{name}": {"robot": robot, "minutes": DEFAULT_N, **method}
        for robot in ROBOTS
        for name, method in METHODS.items()
    }
    | {f"{robot}-zoo": {"robot": robot, "zoo": True} for robot in ROBOTS}
    | {f"{robot}-checked": {"robot": robot, "zoo": True, "checked": True} for robot in ROBOTS}
    | {f"{robot}-faults": {"robot": robot, "faults": FAULTS[robot]} for robot in ROBOTS}
    | {f"{robot}-faults-checked": {"robot": robot, "faults": FAULTS[robot], "checked": True} for robot in ROBOTS}
    | {f"{robot}-finetuned": {"robot": robot, "zoo": True, "finetuned_min": 5} for robot in ROBOTS},
    cell=cell,
    figures={**dict.fromkeys(FIGURES, "higher"), "recovery_s_median": "lower", "falls": "lower"},
    seeds=(0, 1, 2),
)

if __name__ == "__main__":
    main(STUDY)
