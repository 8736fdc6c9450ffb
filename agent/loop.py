"""The control loop: read, judge, act, gate, write, wait. It never waits for the learner, the store or a page."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from agent.safety import ActionGate, Alerts, Monitors
from sim.robot import Clock, Command, Observation, Robot

Act = Callable[[Observation], Command]


@dataclass(frozen=True, slots=True)
class Tick:
    """One control period: what was measured, and what the monitors say of it."""

    observation: Observation
    alerts: Alerts
    robot_s: float


class Lateness:
    """By how much control periods missed their deadlines, in a ring of the last hour at 50 Hz."""

    def __init__(self, capacity: int = 180_000) -> None:
        """Keep the newest ``capacity`` periods."""
        self._late_s = np.zeros(capacity, dtype=np.float32)
        self._count = 0
        self._first_s = self._last_s = 0.0

    def add(self, late_s: float) -> None:
        """Note one period, which ends now."""
        self._last_s = time.monotonic()
        self._first_s = self._first_s or self._last_s
        self._late_s[self._count % len(self._late_s)] = late_s
        self._count += 1

    def summary(self, dt_s: float) -> dict[str, float]:
        """``ticks``, ``hz``, ``late_ms_p50``, ``late_ms_p99``, ``late_ms_max``, ``missed`` (by over one period)."""
        seen: NDArray[np.float32] = self._late_s[: min(self._count, len(self._late_s))]
        if not len(seen):
            return {"ticks": 0, "hz": 0.0, "late_ms_p50": 0.0, "late_ms_p99": 0.0, "late_ms_max": 0.0, "missed": 0}
        p50, p99 = np.percentile(seen, (50, 99))
        return {
            "ticks": self._count,
            "hz": (self._count - 1) / max(1e-9, self._last_s - self._first_s),
            "late_ms_p50": 1e3 * float(p50),
            "late_ms_p99": 1e3 * float(p99),
            "late_ms_max": 1e3 * float(seen.max()),
            "missed": int((seen > dt_s).sum()),
        }


class ControlLoop:
    """Runs one robot at a fixed rate, one period per call."""

    def __init__(
        self,
        robot: Robot,
        clock: Clock,
        gate: ActionGate,
        monitors: Monitors,
        renew: Callable[[], None] = lambda: None,
    ) -> None:
        """Take over ``robot``; nothing moves before the first tick. ``renew`` is called in each, as a sign of life."""
        self.robot = robot
        self.clock = clock
        self.gate = gate
        self.monitors = monitors
        self.lateness = Lateness()
        self._renew = renew
        self._sequence = 0
        self._stopped = False
        self._read = self._next_reading()

    @property
    def reading(self) -> Tick:
        """The newest reading, on which the next period acts."""
        return self._read

    def tick(self, act: Act | None) -> Tick:
        """Act on the newest reading, wait for the end of the period, and read again.

        Args:
            act: turns the observation into a command; None leaves the robot without torque.

        Returns:
            The reading at the end of the period.
        """
        self._renew()
        if act is None:
            # Once only: a robot counts the time until its torque goes off from the call.
            if not self._stopped:
                self.robot.stop()
                self.gate.reset()
            self._stopped = True
        else:
            self._stopped = False
            command = self.gate.filter(act(self._read.observation), self._read.observation)
            self._sequence += 1
            self.robot.write(replace(command, sequence=self._sequence))
        self.lateness.add(self.clock.tick())
        self._read = self._next_reading()
        return self._read

    def refresh(self) -> Tick:
        """Read again without letting time pass, after somebody has moved the robot by hand."""
        self.gate.reset()
        self.monitors.restart()
        self._read = self._next_reading()
        return self._read

    def _next_reading(self) -> Tick:
        observation, alerts = self.monitors.update(self.robot.read())
        return Tick(observation, alerts, self.clock.now_s())
