"""Knocks a simulated robot now and then, as passers-by, doors and other robots do to a real one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

import numpy as np

from sim.robot import RobotSpec

HOUR_S = 3600.0
PUSH = "push"
"""Kind of its rows among the faults."""


@runtime_checkable
class Pushable(Protocol):
    """A simulated robot, as whoever knocks it handles it."""

    @property
    def spec(self) -> RobotSpec:
        """What is fixed about it."""

    def push(self, impulse_ns: tuple[float, float]) -> None:
        """Knock it at the beginning of the next step."""


class Pushes:
    """Pushes at random times, a function of seed and robot time: a run that goes on meets the same ones."""

    def __init__(
        self,
        robot: object,
        per_h: float,
        most_mps: float,
        seed: int,
        now_s: float,
        told: Callable[[float], None] = lambda now_s: None,
    ) -> None:
        """Push from robot time ``now_s`` on.

        Args:
            robot: what is pushed.
            per_h: pushes per hour on average, of a Poisson process.
            most_mps: speed that the hardest push gives to the robot's mass; they are uniform up to it.
            seed: of times, sizes and sides.
            now_s: robot time.
            told: gets the robot time of each.

        Raises:
            ValueError: the robot cannot be pushed.
        """
        if per_h > 0.0 and not isinstance(robot, Pushable):
            raise ValueError("sim.pushes_per_h is for simulated robots at --speed max; this robot cannot be pushed")
        self._robot = robot if per_h > 0.0 and isinstance(robot, Pushable) else None
        self._per_h, self._most_mps, self._seed, self._told = per_h, most_mps, seed, told
        self._coming = self._from(now_s) if self._robot is not None else iter(())
        self._next = next(self._coming, None)

    def look(self, now_s: float) -> None:
        """Call in every control period."""
        while self._robot is not None and self._next is not None and self._next[0] <= now_s:
            _, speed_mps, side_rad = self._next
            impulse = self._robot.spec.mass_kg * speed_mps
            self._robot.push((impulse * math.cos(side_rad), impulse * math.sin(side_rad)))
            self._told(now_s)
            self._next = next(self._coming, None)

    def _from(self, begin_s: float) -> Iterator[tuple[float, float, float]]:
        """Time, speed and side of each push after a time; each hour has a draw of its own."""
        hour = int(begin_s // HOUR_S)
        while True:
            rng = np.random.default_rng((self._seed, hour, 3))
            times_s = HOUR_S * (hour + np.sort(rng.random(rng.poisson(self._per_h))))
            for time_s in times_s:
                speed_mps, side_rad = float(rng.uniform(0.0, self._most_mps)), float(rng.uniform(0.0, math.tau))
                if time_s > begin_s:
                    yield float(time_s), speed_mps, side_rad
            hour += 1
