"""What a success classifier knows of the truth: `perdure bench success --n 100`.

Attempts of the simulated arm to bring the object out and to open the door: by the skill's script to its end and a
little further, cut off wherever they are, or none at all, with things scattered over the tray. A person who sees what
really is marks as many successes as failures; the classifier learns from what the robot measured. ``n`` is the number
of fresh attempts of each task that it is judged by. Beside it the hand-written rule: it knows where the zone is, and
sees the same noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agent.attempts import GOAL_DECISIONS
from sim.kuka import kuka_spec, make_kuka
from sim.robot import FrameLayout, Frames, Transition
from sim.simulated_arm import ArmTruth, SimulatedArm
from sim.state import Pose
from skills.carry import GOAL_M, LYING_BELOW_M, ZONE_M
from skills.decisions import DecisionController, by_script
from skills.learners.success import learn_success
from skills.registry import get
from skills.skill import LearnedSkill
from skills.slide import END_M, OPEN_M
from skills.undo_critic import timeless_features

DEFAULT_N = 100
EXAMPLES = (10, 20, 50, 100)
"""Labelled attempts to learn from, half of them successes."""
SPARE = 1.5
"""So many times the examples are made, for chance decides how they end."""
DRAWS = 5
"""Choices of examples, each with its own classifier; figures are means over these."""
DT_S, DECIMATION = 0.02, 5
CUT_S = 5.0
"""An attempt that is cut off, wherever it is, is so within this time."""
FURTHER_S = 3.0
"""A script goes on for up to this time once the rule would have ended its attempt."""
SETTLE_S = 0.5
KINDS = ("finished", "cut", "scattered")
"""How attempts end, in equal shares."""


@dataclass(frozen=True, eq=False)
class Attempt:
    """What was measured with each decision and at the end, and what really was."""

    frames: NDArray[np.float32]
    """Shape: (T, frame width)."""
    reached: NDArray[np.bool_]
    """Shape: (T,)."""


def run(seed: int, n: int = DEFAULT_N) -> dict[str, Any]:
    """Learn from few and many examples, and judge fresh attempts.

    Returns:
        By task: ``fresh`` attempts and how many of them succeeded, ``rule`` and one entry per number of examples with
        ``accuracy``, ``false_positive_rate`` and ``false_negative_rate`` at the ends of fresh attempts, and
        ``false_goals``: the share of attempts that would have ended as reached where the goal is not.
    """
    torch.set_num_threads(1)
    return {name: _task(name, seed, n) for name in ("carry_out", "slide_open")}


def _task(name: str, seed: int, n: int) -> dict[str, Any]:
    skill, spec = get(name), kuka_spec()
    assert isinstance(skill, LearnedSkill)
    sizes = [size for size in EXAMPLES if size <= n]
    with make_kuka(seed) as arm:
        trials = _Trials(arm, skill, np.random.default_rng(seed))
        known, fresh = trials.attempts(round(SPARE * max(sizes, default=0))), trials.attempts(n)
    features = {id(attempt): timeless_features(spec, skill.family, attempt.frames) for attempt in (*known, *fresh)}
    figures: dict[str, Any] = {
        "fresh": n,
        "fresh_successes": sum(int(attempt.reached[-1]) for attempt in fresh),
        "rule": _figures(fresh, [_rule(skill, attempt.frames) for attempt in fresh]),
    }
    for size in sizes:
        judged = []
        for draw in range(DRAWS):
            marked = _marked(known, size, np.random.default_rng((seed, draw)))
            if marked is None:
                break
            good, bad = ([features[id(attempt)] for attempt in kind] for kind in marked)
            weights = learn_success(good, bad, seed=seed + draw).weights
            told = [weights.probabilities(features[id(attempt)]) > weights.threshold for attempt in fresh]
            judged.append(_figures(fresh, told))
        if judged:
            means = {key: float(np.mean([each[key] for each in judged])) for key in judged[0]}
            figures[str(size)] = means | {"worst_accuracy": min(each["accuracy"] for each in judged)}
    return figures


class _Trials:
    """Attempts of one skill on one arm."""

    def __init__(self, arm: SimulatedArm, skill: LearnedSkill, rng: np.random.Generator) -> None:
        self._arm, self._skill, self._rng = arm, skill, rng
        self._layout, self._sequence = FrameLayout.of(arm.spec), 0

    def attempts(self, n: int) -> list[Attempt]:
        """Attempts from wherever they can start, and scattered states."""
        return [self._attempt(KINDS[self._rng.integers(len(KINDS))]) for _ in range(n)]

    def _attempt(self, kind: str) -> Attempt:
        arm, seen = self._arm, []
        while True:
            arm.place(Pose.standing(0.0, 0.0, 0.0))
            arm.scatter(self._rng)
            arm.step(SETTLE_S)
            if kind == "scattered" or self._skill.start_problem(arm.read()) is None:
                break
        if kind != "scattered":
            seen = self._scripted(kind)
        seen.append(self._now())
        return Attempt(
            frames=np.stack([frame for frame, _ in seen]), reached=np.array([reached for _, reached in seen])
        )

    def _scripted(self, kind: str) -> list[tuple[NDArray[np.float32], bool]]:
        """What was seen at each decision of the script."""
        arm, skill, rng = self._arm, self._skill, self._rng
        script, family = skill.script(arm.spec), skill.family
        assert script is not None
        decide, resting = by_script(script, arm.spec), skill.prior_action(arm.spec)
        controller = DecisionController(family, family.actuator(arm.spec, DT_S), decide, resting, decimation=DECIMATION)
        begun_s, seen = arm.time_s, []
        end_s = begun_s + (rng.uniform(0.0, CUT_S) if kind == "cut" else skill.horizon_s)
        further_s = rng.uniform(0.0, FURTHER_S) if kind == "finished" else None
        controller.start(arm.read())
        while arm.time_s < end_s:
            reading = arm.read()
            if further_s is not None and skill.over(reading) is not None:
                end_s, further_s = arm.time_s + further_s, None
            self._sequence += 1
            command = replace(controller.act(reading), sequence=self._sequence)
            if controller.decision is not None:
                seen.append(self._now())
            arm.write(command)
            arm.step(DT_S)
        return seen

    def _now(self) -> tuple[NDArray[np.float32], bool]:
        return self._layout.pack(self._arm.read()), TRULY[self._skill.name](self._arm.truth())


def _carried_out(truth: ArmTruth) -> bool:
    x, y, z = truth.object_m
    return bool(z < LYING_BELOW_M and math.hypot(x - GOAL_M[0], y - GOAL_M[1]) < ZONE_M)


def _open(truth: ArmTruth) -> bool:
    return abs(truth.door_m - OPEN_M) < END_M


TRULY: dict[str, Callable[[ArmTruth], bool]] = {"carry_out": _carried_out, "slide_open": _open}
"""Whether the goal is truly reached: what a person who looks at it says."""


def _marked(
    known: Sequence[Attempt], size: int, rng: np.random.Generator
) -> tuple[list[Attempt], list[Attempt]] | None:
    """As many successes as failures, ``size`` in all; None where there are not so many."""
    kinds = [[attempt for attempt in known if attempt.reached[-1] == reached] for reached in (True, False)]
    if min(map(len, kinds)) < size // 2:
        return None
    good, bad = ([kind[i] for i in rng.permutation(len(kind))[: size // 2]] for kind in kinds)
    return good, bad


def _rule(skill: LearnedSkill, frames: NDArray[np.float32]) -> NDArray[np.bool_]:
    """What the hand-written rule says of each frame."""
    layout, still = FrameLayout.of(kuka_spec()), np.zeros((1, skill.family.action_size(kuka_spec())))
    rows = [Frames(frame[None], layout) for frame in frames]
    return np.array([skill.success(Transition(row, still, still, row, np.full(1, DT_S))) for row in rows])


def _figures(fresh: Sequence[Attempt], told: Sequence[NDArray[np.bool_]]) -> dict[str, float]:
    truth = np.array([attempt.reached[-1] for attempt in fresh])
    said = np.array([each[-1] for each in told])
    false_goals = [_false_goal(attempt.reached, each) for attempt, each in zip(fresh, told, strict=True)]
    return {
        "accuracy": float((truth == said).mean()),
        "false_positive_rate": float(said[~truth].mean()),
        "false_negative_rate": float((~said[truth]).mean()),
        "false_goals": float(np.mean(false_goals)),
    }


def _false_goal(reached: NDArray[np.bool_], told: NDArray[np.bool_]) -> bool:
    """Whether the daemon would have ended the attempt as reached where it was not."""
    in_row = 0
    for truly, said in zip(reached, told, strict=True):
        in_row = in_row + 1 if said else 0
        if in_row >= GOAL_DECISIONS:
            return not truly
    return False
