"""Whether falls are seen coming: `perdure bench fall-prediction --n 200`.

Both quadrupeds walk by the zoo's policies. ``n`` walks for training are of a lab that wants falls: pushes from random
sides, exploration in half of the walks, dynamics drawn from the training ranges; in as many, nobody disturbs the robot.
Half as many of both kinds have other seeds, and dynamics that no training ever sees: they are the test.

* ``learned``: `skills.learners.falls`, from the training walks alone;
* ``rule``: the lean of `skills.lean`, its limit chosen for the same rate of false alarms by the same walks.

With fewer than about 160 walks there is too little to tell how rare false alarms are, and the predictor stays silent.

A fall is when base or hips hit the floor. It is predicted if the alarm came 0.2 s before that or earlier, and not more
than 1.5 s, before which it would count as false.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from benchmarks._walking import Walker, walker
from sim.robot import FloatArray, FrameLayout, RobotSpec
from skills.fall_predictor import probabilities
from skills.learners.falls import (
    FallConfig,
    FallLearner,
    Walk,
    expected_calibration_error,
    lowest_threshold,
    reliability_diagram,
)
from skills.walk import WALKING_SKILLS

DEFAULT_N = 200
ROBOTS = ("minitaur", "a1")
WALK_S = 8.0
LEAD_S = 0.2
UPDATES_PER_WALK = 10
PUSHES_MPS = (0.5, 2.0)
PAUSE_S = (1.0, 3.0)
"""Shortest and longest time between two pushes."""


def run(seed: int, n: int = DEFAULT_N) -> dict[str, Any]:
    """Train and test one predictor for each robot.

    Returns:
        ``recall``, ``lead_s_median``, ``false_alarms_per_min`` and ``ece``, the worse of both robots; and, for each
        robot, those of ``learned`` and ``rule``, with the numbers of falls and minutes behind them. None where no test
        walk fell, or where there was too little to choose a limit by.
    """
    robots = {name: _robot(name, seed, n) for name in ROBOTS}
    learned = [facts["learned"] for facts in robots.values()]
    worst = {"recall": min, "lead_s_median": min, "false_alarms_per_min": max, "ece": max}
    known = {name: [each[name] for each in learned if each[name] is not None] for name in worst}
    return {name: choose(known[name], default=None) for name, choose in worst.items()} | robots


def _robot(name: str, seed: int, n: int) -> dict[str, Any]:
    training = [*_walks(name, (seed, 0), n, disturbed=True), *_walks(name, (seed, 1), n, disturbed=False)]
    test = _walks(name, (seed, 2), max(n // 2, 1), disturbed=True, held_out=True)
    calm = _walks(name, (seed, 3), max(n // 2, 1), disturbed=False, held_out=True)
    spec = _spec(name)
    learner = FallLearner(spec, seed=seed)
    for walk in training:
        learner.add(walk)
    learner.update(UPDATES_PER_WALK * len(training))
    weights = learner.snapshot()

    def learned(walk: Walk) -> FloatArray:
        return probabilities(weights, walk.postures)

    def rule(walk: Walk) -> FloatArray:
        return walk.leans_rad

    limit = lowest_threshold([(rule(walk), walk) for walk in training if not walk.disturbed], FallConfig())
    return {
        "training_falls": sum(walk.fell_s is not None for walk in training),
        "learned": _judge(learned, weights.threshold, test, calm) | _calibration(learned, [*test, *calm]),
        "rule": _judge(rule, limit, test, calm) | {"limit_deg": _finite(math.degrees(limit))},
    }


def _judge(
    score: Callable[[Walk], FloatArray], threshold: float, test: Sequence[Walk], calm: Sequence[Walk]
) -> dict[str, Any]:
    """Recall over falls, and false alarms in calm walks and in disturbed ones."""
    leads = []
    for walk in test:
        if walk.fell_s is not None:
            left_s = walk.fell_s - walk.stamps_s
            early = left_s[(score(walk) > threshold) & (left_s <= FallConfig().false_alarm_s)]
            leads.append(float(early.max()) if len(early) else 0.0)
    return {
        "falls": len(leads),
        "recall": float(np.mean([lead >= LEAD_S for lead in leads])) if leads else None,
        "lead_s_median": float(np.median(leads)) if leads else None,
        "lead_s_p10": float(np.quantile(leads, 0.1)) if leads else None,
        "threshold": _finite(threshold),
        **_false_alarms("", score, threshold, calm),
        **_false_alarms("disturbed_", score, threshold, test),
    }


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _false_alarms(
    prefix: str, score: Callable[[Walk], FloatArray], threshold: float, walks: Sequence[Walk]
) -> dict[str, float]:
    alarms, seconds = 0, 0.0
    for walk in walks:
        inside = walk.good(FallConfig().false_alarm_s)
        stamps = walk.stamps_s[inside]
        last_s = -math.inf
        for at_s in stamps[(score(walk) > threshold)[inside]]:
            if at_s - last_s > FallConfig().false_alarm_s:
                alarms += 1
            last_s = at_s
        seconds += float(inside[1:] @ np.diff(walk.stamps_s))
    minutes = seconds / 60.0
    rate = alarms / minutes if minutes else 0.0
    return {f"{prefix}false_alarms": alarms, f"{prefix}minutes": minutes, f"{prefix}false_alarms_per_min": rate}


def _calibration(score: Callable[[Walk], FloatArray], walks: Sequence[Walk]) -> dict[str, Any]:
    horizon_s = FallConfig().horizon_s
    forecasts, outcomes = [], []
    for walk in walks:
        falling, known = walk.labels(horizon_s)
        forecasts.append(score(walk)[known])
        outcomes.append(falling[known])
    diagram = reliability_diagram(np.concatenate(forecasts), np.concatenate(outcomes))
    return {"ece": expected_calibration_error(diagram), "reliability": [asdict(each) for each in diagram]}


def _spec(name: str) -> RobotSpec:
    with walker(name, WALKING_SKILLS[0].name, 0) as walking:
        return walking.robot.spec


def _walks(name: str, seed: tuple[int, int], n: int, *, disturbed: bool, held_out: bool = False) -> list[Walk]:
    """``n`` walks, the walking skills in turn."""
    out = []
    with walker(name, WALKING_SKILLS[0].name, 0) as walking:
        randomiser = walking.robot.body.randomiser(int(np.random.default_rng(seed).integers(2**31)))
    for index in range(n):
        rng = np.random.default_rng((*seed, index))
        dynamics = randomiser.held_out() if held_out else randomiser.training()
        skill = WALKING_SKILLS[index % len(WALKING_SKILLS)].name
        explore = rng if rng.random() < 0.5 and not held_out else None
        with walker(name, skill, int(rng.integers(2**31)), dynamics=dynamics, rng=explore) as walking:
            out.append(_walk(walking, rng, disturbed=disturbed))
    return out


def _walk(walking: Walker, rng: np.random.Generator, *, disturbed: bool) -> Walk:
    loop, layout = walking.loop, FrameLayout.of(walking.robot.spec)
    frames, stamps = [], []
    next_push = rng.uniform(*PAUSE_S) if disturbed else math.inf
    start_s = loop.reading.robot_s
    fell_s = None
    while loop.reading.robot_s - start_s < WALK_S:
        observation = loop.reading.observation
        frames.append(layout.pack(observation))
        stamps.append(loop.reading.robot_s)
        if loop.reading.robot_s - start_s >= next_push:
            walking.push(rng.uniform(*PUSHES_MPS), rng.uniform(-math.pi, math.pi))
            next_push += rng.uniform(*PAUSE_S)
        loop.tick(walking.controller.act)
        if walking.robot.body_on_floor:
            fell_s = loop.reading.robot_s
            break
    walk = Walk.of(walking.robot.spec, np.stack(frames), np.array(stamps), fell_s)
    return replace(walk, disturbed=disturbed)
