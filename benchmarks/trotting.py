"""Forward speed after two robot-hours, beside the policy that PyBullet ships, in that policy's physics.

The robot is `sim.minitaur_trotting`. The daemon learns on it from nothing; then our policy, our generator alone, the
shipped policy and the shipped generator alone walk the shipped protocol on that robot, through the same code: 10
attempts of 6 s from standing, on an open floor, each speed being distance over 6 s. An attempt that falls (body's up
axis within acos 0.85 of the world's no more, or base below 0.13 m) ends there, and its 6 s count.

It learns to walk forward and backward, which is how it stays inside its fence. The monitor that ends an attempt when a
joint stays at its torque limit is off: these motors are at their limit whenever the robot trots, the shipped way too.

    python -m benchmarks.trotting --seeds 0 1 2            # learns, two robot-hours for each seed
    perdure bench trotting --n 120                         # the same for one seed; n is in robot minutes
    python -m benchmarks.trotting --physics                # how our robot differs from the shipped environment
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from agent.policies import find_policy
from agent.stored_config import stored_config
from benchmarks import _daemon
from benchmarks._study import Study, main
from sim.drift import Drift, DriftSchedule
from sim.minitaur_trotting import MINITAUR_TROTTING, TrottingBody, minitaur_trotting_spec
from sim.robot import Array, Command, CommandMode, RobotSpec
from sim.sensors import SensorParams
from sim.simulated_robot import SimulatedRobot
from sim.state import Pose, Truth
from skills.decisions import DecisionController
from skills.policy_control import policy_controller
from skills.registry import get
from skills.skill import LearnedSkill
from skills.trotting import FREQUENCY_HZ, RESIDUAL_RAD, ShippedPolicy, generator_legs_rad, leg_command

DEFAULT_N = 120
ROBOT = "minitaur_trotting"
THERE_AND_BACK = ('run.skills=["walk_forward", "walk_backward"]', "safety.saturation_share=1.0")
DATA = Path(__file__).parent / "data"
ATTEMPTS = 10
ATTEMPT_S = 6.0
EVALUATION_SEED = 1000
"""Starts are the same for every training seed, and no training seed is near."""
START_SPREAD_RAD = 0.005
"""The environment starts each attempt alike but for what its last one left in the solver. Here the motors start up to
this much off."""
START_KNEE_RAD = -2.1834
"""Where the environment puts the knees (minitaur_rainbow_dash.py)."""
FALLEN_UP_Z = 0.85
FALLEN_HEIGHT_M = 0.13
"""minitaur_gym_env.py, is_fallen."""
TICK_S = 0.001
ENVIRONMENT_STEP_S = 0.006
ENERGY_WEIGHT = 0.005
"""minitaur_gym_env.py: power at each step of the environment times its physics step, not its own, counts as energy."""
LATENCY_MS = 20
RECORD_EVERY = 4
"""Control steps of the shipped policy between two recordings in the reference data."""


class Walker(Protocol):
    """What makes the robot walk."""

    period_ms: int
    """Between two commands."""

    def command(self, robot: SimulatedRobot, past: Sequence[Truth]) -> Command:
        """The next command; ``past`` holds the last `LATENCY_MS` + 1 states in steps of 1 ms, newest first."""


class LearnedWalker:
    """The controller of a learned skill, at the rates of the daemon."""

    def __init__(self, controller: DecisionController, dt_s: float) -> None:
        """Drive one attempt; the robot must stand."""
        self.period_ms = round(1e3 * dt_s)
        self._controller = controller
        self._started = False

    def command(self, robot: SimulatedRobot, past: Sequence[Truth]) -> Command:
        """What the controller makes of the robot's own reading."""
        del past
        observation = robot.read()
        if not self._started:
            self._controller.start(observation)
            self._started = True
        return self._controller.act(observation)


class ShippedWalker:
    """The generator of `MinitaurTrottingEnv` with the residual of its policy, or without."""

    period_ms = 6

    def __init__(self, *, residual: bool) -> None:
        """Begin an attempt."""
        self._policy = ShippedPolicy() if residual else None
        self._steps = 0

    def command(self, robot: SimulatedRobot, past: Sequence[Truth]) -> Command:
        """What the environment sends at its step."""
        legs = generator_legs_rad(math.tau * FREQUENCY_HZ * self._steps * 1e-3 * self.period_ms)
        self._steps += 1
        if self._policy is not None:
            seen = past[-1]
            legs += RESIDUAL_RAD * self._policy.act(seen.orientation_xyzw, seen.angular_velocity)
        return leg_command(robot.spec, legs)


@dataclass(frozen=True, kw_only=True)
class Walk:
    """One attempt."""

    speed_mps: float
    fell: bool
    return_: float
    """Of the environment: metres ahead, less `ENERGY_WEIGHT` for each J as it counts them."""
    states: tuple[Truth, ...]
    """Before each command."""


class DroppedBody(TrottingBody):
    """The robot as the environment places it, with knees that do not close the legs: the first step jerks them shut.

    The shipped policy needs that start: put down with closed legs it falls in four of ten attempts.
    """

    def passive_angles(self, joints: Sequence[float]) -> list[float]:
        """The environment's knees, whatever the motors' angles."""
        del joints
        return [direction * START_KNEE_RAD for direction in self.direction]


class Driver:
    """Moves one robot through attempts in steps of 1 ms."""

    def __init__(self) -> None:
        """Make the robot, in its nominal dynamics."""
        body = DroppedBody(**{field.name: getattr(MINITAUR_TROTTING, field.name) for field in fields(TrottingBody)})
        self.robot = SimulatedRobot(minitaur_trotting_spec(), body, sensors=SensorParams.ideal())
        self._past: deque[Truth] = deque(maxlen=LATENCY_MS + 1)
        self._sequence = 0

    def walk(self, walker: Walker, offset_rad: Array | None = None, drifts: Sequence[Drift] = ()) -> Walk:
        """Drop the robot as the environment does, let it stand for half a second, and walk for `ATTEMPT_S`.

        Args:
            walker: what makes it walk.
            offset_rad: how far off the motors start. Shape: (8,).
            drifts: what the robot is from when it stands on.
        """
        self.robot.follow_drift(DriftSchedule((), self.robot.spec.joint_names))
        half_turn = np.full(8, 0.5 * math.pi)
        start = half_turn + (0.0 if offset_rad is None else offset_rad)
        self.robot.place(Pose(position=(0.0, 0.0, 0.2), joint_position=tuple(start.tolist()), clearance_m=None))
        self._past.extendleft([self.robot.truth()] * (LATENCY_MS + 1))
        spec = self.robot.spec
        for target, milliseconds in ((half_turn, 100), (spec.stand_position_rad, 500)):
            hold = Command(mode=CommandMode.POSITION, target=target, kp=spec.kp, kd=spec.kd)
            for ms in range(milliseconds):
                self._step(hold if ms % 20 == 0 else None)
        self.robot.follow_drift(DriftSchedule(tuple(drifts), spec.joint_names), self.robot.time_s)
        states = []
        origin_m = float(self._past[0].base_position[0])
        fell, work = False, 0.0
        for ms in range(round(1e3 * ATTEMPT_S)):
            due = ms % walker.period_ms == 0
            if due:
                states.append(self._past[0])
            self._step(walker.command(self.robot, self._past) if due else None)
            now = self._past[0]
            work += abs(float(now.joint_torque @ now.joint_velocity)) * TICK_S * TICK_S / ENVIRONMENT_STEP_S
            fell = now.up_z < FALLEN_UP_Z or float(now.base_position[2]) < FALLEN_HEIGHT_M
            if fell:
                break
        ahead_m = float(self._past[0].base_position[0]) - origin_m
        return Walk(
            speed_mps=ahead_m / ATTEMPT_S, fell=fell, return_=ahead_m - ENERGY_WEIGHT * work, states=tuple(states)
        )

    def _step(self, command: Command | None) -> None:
        if command is not None:
            self._sequence += 1
            self.robot.write(replace(command, sequence=self._sequence))
        self.robot.step(TICK_S)
        self._past.appendleft(self.robot.truth())


def cell(settings: Mapping[str, Any], seed: int, home: Path | None = None) -> dict[str, Any]:
    """Learn from nothing, then walk the protocol, with the others beside it.

    Args:
        settings: ``minutes`` of robot time and ``set``, further settings of the daemon as ``section.key=value``.
        seed: of the run.
        home: where to run; a temporary directory if None.

    Returns:
        ``speed_mps``, ``falls`` and ``speeds_mps`` of ``learned``, ``generator``, ``shipped`` and
        ``shipped_generator``; ``policy_version``, ``updates``, ``metrics`` of the run.
    """
    if home is None:
        with tempfile.TemporaryDirectory() as folder:
            return cell(settings, seed, Path(folder) / "home")
    changes = [word for change in settings.get("set", ()) for word in ("--set", change)]
    hours = str(settings["minutes"] / 60)
    status = _daemon.run_daemon(
        home, "--robot", ROBOT, "--hours", hours, "--speed", "max", "--seed", str(seed), "--fresh", *changes
    )
    return {
        **evaluate(home),
        "updates": status["updates"],
        "realtime_factor": status["realtime_factor"],
        "metrics": _daemon.perdure_json(home, "metrics"),
    }


def evaluate(home: Path, attempts: int = ATTEMPTS) -> dict[str, Any]:
    """All four walkers on the protocol, with the newest policy of a home."""
    skill = get("walk_forward")
    if not isinstance(skill, LearnedSkill):
        raise ValueError("walk_forward is no learned skill")
    weights = find_policy("latest", ROBOT, skill, home)
    driver = Driver()
    spec = driver.robot.spec
    config = stored_config(home).for_robot(spec)
    dt_s = config.control.dt_s

    def learned() -> Walker:
        controller = policy_controller(
            skill,
            spec,
            dt_s,
            weights,
            None,
            decimation=config.control.decimation,
            history=config.learner.history,
            past_actions=config.learner.past_actions,
        )
        return LearnedWalker(controller, dt_s)

    walkers: dict[str, Callable[[], Walker]] = {
        "learned": learned,
        "generator": lambda: generator_alone(skill, spec, dt_s, config.control.decimation),
        "shipped": lambda: ShippedWalker(residual=True),
        "shipped_generator": lambda: ShippedWalker(residual=False),
    }
    figures: dict[str, Any] = {"policy_version": weights.version, "attempts": attempts}
    for name, make in walkers.items():
        walks = [driver.walk(make(), offset) for offset in start_offsets_rad(attempts)]
        figures[name] = summary(walks)
    driver.robot.close()
    return figures


def generator_alone(skill: LearnedSkill, spec: RobotSpec, dt_s: float, decimation: int) -> Walker:
    """Our trajectory generator with the skill's prior action."""
    prior = skill.prior_action(spec)
    family = skill.family
    controller = DecisionController(family, family.actuator(spec, dt_s), lambda *_: prior, prior, decimation=decimation)
    return LearnedWalker(controller, dt_s)


def start_offsets_rad(attempts: int) -> Array:
    """How far off the motors start in each attempt. Returns shape: (attempts, 8)."""
    return np.random.default_rng(EVALUATION_SEED).uniform(-START_SPREAD_RAD, START_SPREAD_RAD, (attempts, 8))


def summary(walks: Sequence[Walk]) -> dict[str, Any]:
    """Mean speed, falls, and each speed."""
    speeds = [walk.speed_mps for walk in walks]
    return {
        "speed_mps": float(np.mean(speeds)),
        "falls": sum(walk.fell for walk in walks),
        "speeds_mps": [round(speed, 4) for speed in speeds],
    }


def physics() -> dict[str, Any]:
    """How far our robot is from a recording of the environment, with the same generator and policy.

    Returns:
        For ``open_loop`` and ``policy``: ``distance_m`` and ``reference_distance_m`` in 6 s, root mean squares of the
        differences of joint angles (``joints_rad``) and position (``position_m``) over the first two and all six
        seconds.
    """
    driver = Driver()
    out: dict[str, Any] = {}
    with np.load(DATA / "minitaur_trotting_reference.npz") as file:
        reference = {name: file[name] for name in file.files}
    for name, residual in (("open_loop", False), ("policy", True)):
        states = driver.walk(ShippedWalker(residual=residual)).states[::RECORD_EVERY]
        joints = np.array([state.joint_position for state in states])
        position = np.array([state.base_position for state in states])
        theirs = reference[f"{name}_position"][: len(states)]
        joint_error = joints - reference[f"{name}_joints"][: len(states)]
        error = (position - position[0]) - (theirs - theirs[0])
        two = round(2.0 / (1e-3 * ShippedWalker.period_ms * RECORD_EVERY))
        out[name] = {
            "distance_m": float(position[-1, 0] - position[0, 0]),
            "reference_distance_m": float(theirs[-1, 0] - theirs[0, 0]),
            "joints_rad": _rms(joint_error),
            "joints_rad_2s": _rms(joint_error[:two]),
            "position_m": _rms(error),
            "position_m_2s": _rms(error[:two]),
        }
    driver.robot.close()
    return out


def _rms(error: Array) -> float:
    return float(np.sqrt(np.mean(error**2)))


def run(seed: int, n: int) -> dict[str, Any]:
    """Learn for ``n`` robot minutes, then evaluate (`cell`)."""
    return cell({"minutes": n, "set": THERE_AND_BACK}, seed)


STUDY = Study(
    name="trotting",
    module="benchmarks.trotting",
    variants={"there-and-back": {"minutes": DEFAULT_N, "set": THERE_AND_BACK}},
    cell=cell,
    figures={
        "learned.speed_mps": "higher",
        "learned.falls": "lower",
        "generator.speed_mps": "higher",
        "shipped.speed_mps": "higher",
        "shipped.falls": "lower",
        "shipped_generator.speed_mps": "higher",
    },
)

if __name__ == "__main__":
    if "--physics" in sys.argv:
        print(json.dumps(physics(), indent=1))
    else:
        main(STUDY)
