"""How much robot time our learner needs to get where stable-baselines3's SAC and sbx's DroQ end.

Run: python -m benchmarks.peers [--sbx-python PATH] [--only VARIANT ...] [--seeds S ...] [--jobs 1|2] [--summary].
Cells are saved in benchmarks/results/peers/, the summary in benchmarks/results/peers.json. Needs the extra ``bench``;
sbx may live in a virtual environment of its own.

Everybody gets the same steps, the same random steps at the start and networks of the same widths, narrower than usual
for the sake of computing time. Otherwise theirs have the settings that their authors recommend. stable-baselines3: its
own defaults with the learning rates of RL Baselines3 Zoo (hyperparams/sac.yml: 1e-3 for Pendulum, which the other
pendulum gets too; 3e-4 for Minitaur). sbx: the "Note about DroQ" of its README (dropout of 0.01 with layer norm, 20
updates of the critics and one of the actor per step, a learning rate of 1e-3 for the critics). A start of 10,000 random
steps, made for runs of a million, is left out of both. Ours has one setting for all tasks. It acts through the NumPy
policy and, as in the daemon, learns in bursts: after every `SEGMENT` steps.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from agent.evaluation import interquartile_mean, load_robot
from benchmarks import _baselines, _daemon
from benchmarks._baselines import evaluate, make_env
from benchmarks._statistics import estimate, probability_of_improvement
from benchmarks._study import Cells, Settings, Study, main
from skills.policy import MlpPolicy, PolicyWeights

Curve = Sequence[Sequence[float]]
"""Steps and mean evaluation return, at each evaluation; the first is before learning."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is learned, for how long and by how large networks."""

    env: str
    steps: int
    every: int
    """Steps between evaluations."""
    width: int
    """Of both hidden layers."""
    learning_rate: float


TASKS = {
    "pendulum": Task(env="Pendulum-v1", steps=4_000, every=250, width=64, learning_rate=1e-3),
    "double-pendulum": Task(env="InvertedDoublePendulum-v5", steps=10_000, every=500, width=64, learning_rate=1e-3),
    "minitaur": Task(env="perdure/Minitaur-v0", steps=10_000, every=500, width=128, learning_rate=3e-4),
}
"""About as many steps as stable-baselines3 needs."""
EPISODES = 5
RANDOM_STEPS = 100
"""The default of both libraries."""
SEGMENT = 20
LAST = 4
"""Evaluations whose median is the return at the end: a single one may catch a policy in a dip, which would make it easy
to be where it ended."""
NEARLY = 0.05
"""Share of their gain that may lack for "nearly there": on tasks with a ceiling all end within noise of one another."""

OURS = {"updates_per_step": 10, "batch": 256, "layer_norm": True}
LIKE_SB3 = {
    "updates_per_step": 1,
    "batch": 256,
    "normalise": False,
    "output_gain": 1.0,
    "log_std_min": -20.0,
}
"""Our learner with all settings as stable-baselines3 has them, to see that the algorithm is the same."""
IN_DAEMON = {
    "learner.updates_per_step": 10,
    "learner.batch": 256,
    "learner.layer_norm": True,
    "learner.gamma": 0.99,
    "learner.init_temperature": 1.0,
    "learner.init_std": 1.0,
    "learner.actor_delay": 0,
    "learner.warmup_steps": RANDOM_STEPS,
    # As the others see it: the environment's observation, nothing else.
    "learner.history": 1,
    "learner.past_actions": False,
    "schedule.evaluate_every_min": 1000,
}
"""`OURS` as the daemon's settings."""
MARGIN = 1.4
"""Robot time that the daemon gets over what the steps take, since resets take time, too."""
WHO = ("ours", "ours-daemon")
PEERS = ("sb3-sac", "sbx-droq")


def variants() -> dict[str, dict[str, Any]]:
    """``task.learner`` to the settings of its cells."""
    out = {}
    for name, task in TASKS.items():
        rate, widths = task.learning_rate, [task.width, task.width]
        learners: dict[str, dict[str, Any]] = {
            "sb3-sac": {
                "learning_rate": rate,
                "learning_starts": RANDOM_STEPS,
                "policy_kwargs": {"net_arch": widths},
                "device": "cpu",
            },
            "sbx-droq": {
                "learning_rate": rate,
                "qf_learning_rate": 1e-3,
                "learning_starts": RANDOM_STEPS,
                "gradient_steps": 20,
                "policy_delay": 20,
                "policy_kwargs": {"net_arch": widths, "dropout_rate": 0.01, "layer_norm": True},
            },
            "ours": {"hidden": widths, "learning_rate": rate, **OURS},
            "ours-daemon": {"learner.hidden": widths, "learner.lr": rate, **IN_DAEMON},
            "ours-like-sb3": {"hidden": widths, "learning_rate": rate, **LIKE_SB3},
        }
        for learner, settings in learners.items():
            budget = {"task": task.env, "steps": task.steps, "every": task.every, "episodes": EPISODES}
            out[f"{name}.{learner}"] = {"learner": learner, **budget, "settings": settings}
    return out


def cell(settings: Settings, seed: int) -> dict[str, Any]:
    """Learn once. Returns ``curve`` and ``final``, the last evaluation's return, and the versions of their packages."""
    wanted = {**settings, "seed": seed}
    learner = wanted.pop("learner")
    if learner == "sbx-droq":
        facts = _baselines.sbx_learning_curve(**wanted)
    elif learner == "sb3-sac":
        from stable_baselines3 import __version__

        curve = _baselines.learning_curve("stable_baselines3", **wanted)
        facts = {"curve": curve, "peer_versions": {"stable-baselines3": __version__}}
    elif learner == "ours-daemon":
        facts = daemon_learning_curve(**wanted)
    else:
        facts = {"curve": our_learning_curve(**wanted)}
    return {**facts, "final": facts["curve"][-1][1]}


def our_learning_curve(
    task: str, settings: Mapping[str, Any], steps: int, every: int, episodes: int, seed: int
) -> list[tuple[int, float]]:
    """Learn for ``steps`` steps with our learner; as `_baselines.learning_curve`."""
    run, env = _Ours(task, settings, steps, seed), make_env(task)
    curve = [(0, evaluate(env, acting(env, run.learner.snapshot()), episodes))]
    for due in range(every, steps + 1, every):
        while run.steps < due:
            run.segment(min(SEGMENT, due - run.steps))
        curve.append((run.steps, evaluate(env, acting(env, run.learner.snapshot()), episodes)))
    return curve


def daemon_learning_curve(
    task: str, settings: Mapping[str, Any], steps: int, every: int, episodes: int, seed: int
) -> dict[str, Any]:
    """Learn in the daemon; its policies are judged afterwards.

    Returns:
        ``curve``, as `_baselines.learning_curve`, at the steps after which it stored a policy; ``robot_min``, how long
        those steps took with all resets; ``attempts``; ``interventions``.
    """
    robot = f"gym:sim.gym_env:{task}" if task.startswith("perdure/") else f"gym:{task}"
    rate_hz = load_robot(robot, seed).spec.control_rate_hz
    with tempfile.TemporaryDirectory() as folder:
        home, minutes = Path(folder) / "home", steps / rate_hz / 60.0
        changes = {**settings, "schedule.checkpoint_every_min": every / rate_hz / 60.0}
        assignments = _daemon.told(changes)
        length = ("--hours", str(MARGIN * minutes / 60.0), "--speed", "max", "--seed", str(seed))
        status = _daemon.run_and_keep_policies(home, home / "kept", "--robot", robot, *length, *assignments)
        attempts = _daemon.query(home, "SELECT ended_s / 60.0, steps FROM attempts WHERE steps > 0 ORDER BY id")
        policies = _daemon.kept_policies(home / "kept")
    ends = np.array([ended_min for ended_min, _ in attempts])
    done = np.cumsum([count for _, count in attempts])
    if done[-1] < steps:
        raise RuntimeError(f"{task}: {done[-1]} of {steps} steps in {MARGIN:g} times their time; raise MARGIN")
    env = make_env(task)
    curve: list[tuple[int, float]] = []
    for minute, weights in policies.items():
        before = int(np.searchsorted(ends, minute, side="right"))
        made = int(done[before - 1]) if before else 0
        if made <= steps:
            curve.append((made, evaluate(env, acting(env, weights), episodes)))
    return {
        "curve": curve,
        "robot_min": float(ends[np.searchsorted(done, steps)]),
        "attempts": len(attempts),
        "interventions": status["interventions"],
    }


class _Ours:
    """Our learner in a Gymnasium environment."""

    def __init__(self, task: str, settings: Mapping[str, Any], capacity: int, seed: int) -> None:
        from persistence.replay import ReplayBuffer
        from skills.learners.config import SacConfig
        from skills.learners.sac import SacLearner

        self.env = make_env(task)
        shape, self.actions = self.env.observation_space.shape, _actions(self.env).low.size
        assert shape is not None
        self.config = SacConfig(**{**settings, "hidden": tuple(settings["hidden"])})
        self.replay = ReplayBuffer(capacity, shape[0], self.actions)
        self.learner = SacLearner(self.replay, np.zeros((1, 0)), np.zeros((1, self.actions)), self.config, seed)
        self.rng = np.random.default_rng(seed)
        self.obs, _ = self.env.reset(seed=seed)
        self.steps = 0

    def segment(self, most: int) -> None:
        """Act for some steps, or until the episode ends; store them and learn."""
        policy = acting(self.env, self.learner.snapshot(), self.rng)
        rows: list[NDArray[Any]] = [self.obs]
        actions: list[NDArray[Any]] = []
        rewards, ends = [], []
        over = False
        while len(actions) < most and not over:
            if self.steps + len(actions) < RANDOM_STEPS:
                action = to_env(self.env, self.rng.uniform(-1, 1, self.actions))
            else:
                action = policy(self.obs)
            self.obs, reward, terminated, truncated, _ = self.env.step(action)
            rows.append(self.obs)
            actions.append(from_env(self.env, action))
            rewards.append([float(reward)])
            ends.append([terminated])
            over = terminated or truncated
        self.replay.add_episode(np.array(rows), np.array(actions), np.array(rewards), np.array(ends))
        if over:
            self.obs, _ = self.env.reset()
        self.steps += len(actions)
        if self.steps > RANDOM_STEPS:
            self.learner.update(round(self.config.updates_per_step * len(actions)))


def acting(
    env: gymnasium.Env[Any, Any], weights: PolicyWeights, rng: np.random.Generator | None = None
) -> _baselines.Act:
    """A policy of ours, from an observation to an action within the environment's bounds; ``rng`` lets it explore."""
    actor, nothing, prior = MlpPolicy(weights), np.zeros(0), np.zeros(weights.action_width)

    def act(obs: NDArray[Any]) -> NDArray[Any]:
        noise = None if rng is None else rng.standard_normal(weights.action_width)
        return to_env(env, actor.act(obs.astype(np.float32), nothing, prior, noise))

    return act


def to_env(env: gymnasium.Env[Any, Any], u: NDArray[Any]) -> NDArray[Any]:
    """From [-1, 1] to the environment's own bounds."""
    space = _actions(env)
    return np.asarray(space.low + 0.5 * (u + 1.0) * (space.high - space.low))


def from_env(env: gymnasium.Env[Any, Any], action: NDArray[Any]) -> NDArray[Any]:
    """From the environment's own bounds to [-1, 1]."""
    space = _actions(env)
    return np.asarray(2.0 * (action - space.low) / (space.high - space.low) - 1.0)


def _actions(env: gymnasium.Env[Any, Any]) -> gymnasium.spaces.Box:
    space = env.action_space
    assert isinstance(space, gymnasium.spaces.Box)
    return space


def steps_to_stay(curve: Curve, level: float) -> float:
    """Steps after which no evaluation is below a level any more; infinity if the last one is."""
    reached = np.inf
    for steps, value in reversed(curve):
        if value < level:
            break
        reached = steps
    return float(reached)


def end_of(curve: Curve) -> float:
    """Return at the end: the median of the last `LAST` evaluations."""
    return float(np.median([value for _, value in curve[-LAST:]]))


def compare(ours: Sequence[Curve], theirs: Sequence[Curve]) -> dict[str, Any]:
    """Our steps to where a peer ends, on one task.

    Returns:
        ``budget``, ``their_return`` (IQM over seeds of `end_of`), and both for that level and for ``nearly`` (`NEARLY`
        of their gain below it): ``level``, ``our_steps`` (IQM over seeds, interval, worst), ``their_steps`` (when they
        stay there themselves), and our steps as a share of the budget (``of_budget``) and of their own (``of_theirs``;
        None where they do not stay there).
    """
    budget = theirs[0][-1][0]
    end = float(interquartile_mean([end_of(curve) for curve in theirs]))
    start = float(interquartile_mean([curve[0][1] for curve in theirs]))
    out: dict[str, Any] = {"budget": budget, "their_return": end}
    for name, level in (("there", end), ("nearly", end - NEARLY * abs(end - start))):
        steps = estimate([[steps_to_stay(curve, level) for curve in ours]], "lower")
        their_steps = float(interquartile_mean([steps_to_stay(curve, level) for curve in theirs]))
        out[name] = {
            "level": level,
            "our_steps": dataclasses.asdict(steps),
            "their_steps": their_steps,
            "of_budget": steps.iqm / budget,
            "of_theirs": steps.iqm / their_steps if math.isfinite(their_steps) else None,
        }
    return out


def conclude(cells: Cells) -> dict[str, Any]:
    """How each way of running ours compares with each peer, by task and over all of them."""
    return {who: {peer: _comparison(cells, who, peer) for peer in PEERS} for who in WHO}


def _comparison(cells: Cells, who: str, peer: str) -> dict[str, Any]:
    tasks = [task for task in TASKS if f"{task}.{peer}" in cells and f"{task}.{who}" in cells]
    pairs = [[[run["curve"] for run in cells[f"{task}.{name}"]] for name in (who, peer)] for task in tasks]
    out: dict[str, Any] = {"tasks": {task: compare(*pair) for task, pair in zip(tasks, pairs, strict=True)}}
    if tasks:
        mine, theirs = ([[end_of(curve) for curve in pair[side]] for pair in pairs] for side in (0, 1))
        figure, low, high = probability_of_improvement(mine, theirs)
        out["probability_of_improvement"] = {"value": figure, "low": low, "high": high}
    return out


STUDY = Study(
    name="peers",
    module="benchmarks.peers",
    variants=variants(),
    cell=cell,
    figures={"final": "higher"},
    conclude=conclude,
)


def _main() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    _baselines.add_sbx_option(parser)
    options, rest = parser.parse_known_args()
    _baselines.apply_sbx_option(options)
    main(STUDY, rest)


if __name__ == "__main__":
    _main()
