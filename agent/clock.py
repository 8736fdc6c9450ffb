"""Robot clocks: simulated time as fast as it goes or held to the wall clock, and wall time itself."""

from __future__ import annotations

import time
from typing import Protocol, runtime_checkable


@runtime_checkable
class Steppable(Protocol):
    """A simulated robot, as the clock sees it."""

    def step(self, dt_s: float) -> None:
        """Advance the simulation."""


class SimulatedClock:
    """Advances a simulator by one control period per tick and counts robot time.

    With ``realtime`` each tick also waits for its wall-clock deadline; a missed deadline is not made up by hurrying.
    """

    def __init__(self, robot: Steppable, dt_s: float, *, start_s: float = 0.0, realtime: bool = False) -> None:
        """Begin at robot time ``start_s``."""
        self._robot = robot
        self._dt_s = dt_s
        self._start_s = start_s
        self._ticks = 0
        self._realtime = realtime
        self._deadline_s: float | None = None

    @property
    def dt_s(self) -> float:
        """Control period."""
        return self._dt_s

    @property
    def realtime(self) -> bool:
        """Whether ticks wait for the wall clock."""
        return self._realtime

    def now_s(self) -> float:
        """Robot time; a product, so that hours of ticks add no rounding."""
        return self._start_s + self._ticks * self._dt_s

    def tick(self) -> float:
        """Simulate one control period. Returns by how many s of wall time its deadline was missed, 0 at full speed."""
        self._robot.step(self._dt_s)
        self._ticks += 1
        if not self._realtime:
            return 0.0
        now = time.monotonic()
        if self._deadline_s is None:
            self._deadline_s = now
        self._deadline_s += self._dt_s
        wait_s = self._deadline_s - now
        if wait_s > 0:
            sleep_until(self._deadline_s)
            late_s = time.monotonic() - self._deadline_s
        else:
            late_s = -wait_s
            self._deadline_s = now
        return late_s


class WallClock:
    """Robot time is wall time since the first tick: for a robot that moves by itself."""

    def __init__(self, dt_s: float, *, start_s: float = 0.0) -> None:
        """Stand at robot time ``start_s`` until the first tick."""
        self._dt_s = dt_s
        self._now_s = start_s
        self._deadline_s: float | None = None
        self._offset_s = 0.0

    @property
    def dt_s(self) -> float:
        """Control period."""
        return self._dt_s

    def now_s(self) -> float:
        """Robot time at the end of the last tick: all that happens in a control period happens at one time."""
        return self._now_s

    def tick(self) -> float:
        """Wait for the end of the control period. Returns by how many s it was missed; that is not made up."""
        begun_s = time.monotonic()
        if self._deadline_s is None:
            self._deadline_s = begun_s
            self._offset_s = self._now_s - begun_s
        due_s = self._deadline_s + self._dt_s
        sleep_until(due_s)
        ended_s = time.monotonic()
        self._deadline_s = max(due_s, begun_s)
        self._now_s = ended_s + self._offset_s
        return ended_s - due_s


def sleep_until(deadline_s: float, spin_s: float = 0.0005) -> None:
    """Sleep to a monotonic deadline: the kernel's timer for most of it, then a short spin for its last part."""
    rest_s = deadline_s - time.monotonic() - spin_s
    if rest_s > 0:
        time.sleep(rest_s)
    while time.monotonic() < deadline_s:
        pass
