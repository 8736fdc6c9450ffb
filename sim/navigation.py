"""Two tasks of Recovery RL, written anew from its protocol: reach the origin past what must not be touched.

Gymnasium environments ``perdure/Navigation1-v0`` (a corridor) and ``perdure/Navigation2-v0`` (a block in the way), with
the figures of Thananjeyan et al. 2021 (arXiv 2010.15920). A point moves by its action and a little noise. An episode
ends at the goal, in an obstacle (``info["violation"]``), or after 100 steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sim.robot import Array

Box = tuple[tuple[float, float], tuple[float, float]]
"""(lowest, highest) x and y."""

START = np.array([-50.0, 0.0])
START_SPREAD = 1.0
NOISE = 0.05
GOAL_RADIUS = 4.0
HORIZON = 100
FARTHEST = 200.0
"""Farther than any episode leads."""
ROLLOUT_STEPS = 10
"""Longest rollout of the offline data."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A kind of rollout in the offline data: where it starts, and how its actions are drawn."""

    start: Box
    push: tuple[float, float] = (0.0, 0.0)
    """Direction of a uniform draw between half and full speed; an axis with 0 is drawn from a standard normal."""
    share: float
    """Of all rollouts."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """Where obstacles are, and how offline data of them is collected: near them and often into them."""

    obstacles: tuple[Box, ...]
    probes: tuple[Probe, ...]

    def violated(self, place: Array) -> bool:
        """Whether a place lies in an obstacle."""
        x, y = place
        return any(x0 <= x <= x1 and y0 <= y <= y1 for (x0, x1), (y0, y1) in self.obstacles)


CORRIDOR = Course(
    obstacles=(((-100.0, 150.0), (5.0, 10.0)), ((-100.0, -80.0), (-10.0, 10.0)), ((-100.0, 150.0), (-10.0, -5.0))),
    probes=(
        Probe(start=((-80.0, 50.0), (-5.0, -2.0)), share=0.5),
        Probe(start=((-80.0, 50.0), (2.0, 5.0)), share=0.5),
    ),
)
BLOCK = Course(
    obstacles=(((-30.0, -20.0), (-7.5, 7.5)),),
    probes=(
        Probe(start=((-40.0, 10.0), (-25.0, 25.0)), share=0.25),
        Probe(start=((-35.0, -30.0), (-12.0, 12.0)), push=(1.0, 0.0), share=0.1875),
        Probe(start=((-20.0, -15.0), (-12.0, 12.0)), push=(-1.0, 0.0), share=0.1875),
        Probe(start=((-30.0, -20.0), (10.0, 15.0)), push=(0.0, -1.0), share=0.1875),
        Probe(start=((-30.0, -20.0), (-15.0, -10.0)), push=(0.0, 1.0), share=0.1875),
    ),
)


def moved(place: Array, action: Array, rng: np.random.Generator) -> Array:
    """Where a step leads."""
    return np.asarray(place + np.clip(action, -1.0, 1.0) + NOISE * rng.standard_normal(2))


class Navigation(gym.Env[NDArray[np.float32], NDArray[np.float32]]):
    """A point that is to reach the origin.

    Observation: x and y, (2,). Action: the step in x and y, each in [-1, 1], (2,). Reward: minus the distance from the
    goal before the step.
    """

    metadata = {"render_modes": [], "render_fps": 20}  # noqa: RUF012 - Gymnasium's own attribute

    def __init__(self, course: Course) -> None:
        """Place obstacles."""
        self.course = course
        self.observation_space = spaces.Box(-FARTHEST, FARTHEST, (2,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self._place = START

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin near the start."""
        super().reset(seed=seed, options=options)
        self._place = START + START_SPREAD * self.np_random.standard_normal(2)
        return self._place.astype(np.float32), {}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """One step; ``info`` has ``violation`` and ``success``."""
        distance = float(np.linalg.norm(self._place))
        self._place = moved(self._place, np.asarray(action, np.float64), self.np_random)
        violation, success = self.course.violated(self._place), distance < GOAL_RADIUS
        info = {"violation": violation, "success": success and not violation}
        return self._place.astype(np.float32), -distance, violation or success, False, info


def offline_rollouts(course: Course, steps: int, rng: np.random.Generator) -> list[tuple[Array, Array, bool]]:
    """Random rollouts near the obstacles.

    Returns:
        For each rollout the places, shape (T + 1, 2); the actions, shape (T, 2); and whether it ended in an obstacle.
        ``steps`` of them in all, or a few more.
    """
    shares: Sequence[float] = [probe.share for probe in course.probes]
    rollouts, total = [], 0
    while total < steps:
        probe = course.probes[rng.choice(len(shares), p=shares)]
        place = _start(course, probe, rng)
        places, violated = [place], False
        actions: list[Array] = []
        while len(actions) < ROLLOUT_STEPS and not violated:
            action = np.clip(rng.standard_normal(2), -1.0, 1.0)
            for axis, direction in enumerate(probe.push):
                if direction:
                    action[axis] = direction * rng.uniform(0.5, 1.0)
            place = moved(place, action, rng)
            violated = course.violated(place)
            places.append(place)
            actions.append(action)
        rollouts.append((np.array(places), np.array(actions), violated))
        total += len(actions)
    return rollouts


def _start(course: Course, probe: Probe, rng: np.random.Generator) -> Array:
    while True:
        place = np.array([rng.uniform(low, high) for low, high in probe.start])
        if not course.violated(place):
            return place


for _name, _course in (("1", CORRIDOR), ("2", BLOCK)):
    gym.register(
        f"perdure/Navigation{_name}-v0",
        entry_point="sim.navigation:Navigation",
        max_episode_steps=HORIZON,
        kwargs={"course": _course},
    )
