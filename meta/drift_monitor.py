"""Follows one robot's prediction errors step by step: says when they have changed, and when that is over.

A first alarm is a suspicion: a stumble looks like a change, too. It is one if something else confirms it, as a check-up
that names a cause, or if errors alarm again within `CALM_S`. So a suspicion may be cheap. Sensors that differ again say
no more than that they did, since a policy that has learned to walk otherwise makes them, too: check-ups decide, where
there are any.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from meta.change_point import Alarm, ChangeDetector, steps_between_alarms
from meta.expectation import Expectation
from meta.robot_steps import actions_of, channel_errors, channel_joints, posture, unfamiliar
from meta.sensor_checks import CHECKS, SENSORS, sensor_checks, unusual
from sim.robot import FloatArray, FrameLayout, Frames, RobotSpec

CALM_S = 30.0
"""A change, or a suspicion of one, is over once errors have been calm for this long."""
UNCALM_EVERY_S = 300.0
"""For that, errors count as calm if the test does not alarm although it may once in this time."""
ALIKE = 4.0
"""A false alarm may be followed by another one so many times as often as by chance: what made a robot stumble may do so
again."""
HABIT_S = 600.0
"""After this long of practice a change is what the robot is like now: expectations are learned from it, too."""


class Condition(StrEnum):
    """What a robot is compared with what it is expected to be."""

    USUAL = "usual"
    CHANGED = "changed"
    """Expectations are not learned from it: what a changed robot taught them would hide that it is repaired."""
    HABIT = "habit"
    """Changed for so long that this is what it is like now."""


class Finding(StrEnum):
    """What a monitor finds."""

    SUSPECTED = "dynamics_suspected"
    """Nothing is the matter yet, but had better be looked into."""
    CHANGED = "dynamics_changed"
    CALM = "dynamics_calm_again"
    HABIT = "dynamics_taken_as_usual"


@dataclass(frozen=True, kw_only=True)
class Found:
    """A finding."""

    kind: Finding
    practised_s: float
    """Practice watched since errors changed."""
    joint: int = -1
    """Joint whose errors have changed most clearly; -1: none's, but the body's, or none have."""
    size: float = 0.0
    """By how much, in standard deviations of calm errors."""
    sensor: str = ""
    """Sensor that differs from another one most clearly; empty: none, but the robot moves in another way."""


class DriftMonitor:
    """Watches decisions; constant time for each."""

    def __init__(
        self,
        spec: RobotSpec,
        *,
        false_alarms_per_h: float = 1.0,
        condition: Condition = Condition.USUAL,
        checked_up: bool = False,
    ) -> None:
        """Watch nothing until there is an expectation.

        Args:
            spec: the robot, with its policy rate.
            false_alarms_per_h: so many changes per hour of practice are found by chance at most, on average; see
                `suspicions_per_h` for how many are suspected.
            condition: what the robot was when it was last watched.
            checked_up: whether check-ups look into what is suspected, and name sensors that are off.
        """
        self.condition = condition
        self._checked_up = checked_up
        self._spec, self._layout = spec, FrameLayout.of(spec)
        self._rate_hz = float(spec.policy_rate_hz)
        self._least_steps = steps_between_alarms(suspicions_per_h(false_alarms_per_h), self._rate_hz)
        self._joints = channel_joints(spec.n_joints)
        self._expectation: Expectation | None = None
        self._newer: Expectation | None = None
        self._detector: ChangeDetector | None = None
        self._last: tuple[FloatArray, FloatArray, FloatArray] | None = None
        """Frame, posture and action from which a step is under way."""
        self._sent = np.zeros(0, np.float32)
        self._changed_steps = self._calm_steps = 0
        self._suspicion: _Suspicion | None = None

    @property
    def suspected(self) -> bool:
        """Whether a change of a robot that still counts as usual is suspected."""
        return self._suspicion is not None

    @property
    def changed(self) -> bool:
        """Whether the robot is not what it is, or was, expected to be."""
        return self.condition is not Condition.USUAL

    @property
    def watching(self) -> bool:
        """Whether there is an expectation to compare with."""
        return self._detector is not None

    def expect(self, expectation: Expectation | None) -> None:
        """Take a newer expectation; while the robot is changed, and that is no habit, it waits."""
        if expectation is None or (self._newer is not None and expectation.version == self._newer.version):
            return
        if any(each.channels != len(self._joints) for each in expectation.calibrations):
            return  # of an older version, which watched other channels; the next one comes soon
        self._newer = expectation
        if self.condition is not Condition.CHANGED or self._expectation is None:
            self._expectation = expectation
            self._watch()

    def begins(self, resting: FloatArray) -> None:
        """An attempt begins, before whose first decision ``resting`` was sent. Shape: (n_actions,)."""
        self._sent = resting
        self.cut()

    def cut(self) -> None:
        """The step under way is not what was decided, as where a fall is caught."""
        self._last = None
        if self._detector is not None:
            self._detector.cut()

    def decided(self, frame: FloatArray, sent: FloatArray, phase_rad: float) -> Found | None:
        """A decision is made on a reading: the step before it is complete.

        Args:
            frame: the reading, packed. Shape: (`FrameLayout.width`,).
            sent: what goes to the actuator. Shape: (n_actions,).
            phase_rad: where in its cycle the actuator is.
        """
        if self._expectation is None or self._detector is None:
            return None
        state = posture(self._spec, Frames(np.asarray(frame)[None], self._layout))
        action = actions_of(np.asarray(sent, np.float32)[None], self._sent, np.array([phase_rad]))
        before, self._sent = self._last, sent
        self._last = (frame, state, action) if np.isfinite(state).all() else None
        if before is None or self._last is None:
            return None
        z, expected, (disagreement,) = self._expectation.model.errors(before[1], before[2], state)
        checks = sensor_checks(self._spec, Frames(np.stack((before[0], frame)), self._layout))
        off = unusual(*checks, self._expectation.usual_checks)
        (errors,) = channel_errors(self._spec.n_joints, z, expected, state, off)
        familiar = bool(disagreement <= self._expectation.familiar)
        if not familiar:
            errors = unfamiliar(errors)
        alarm = self._detector.update(errors)
        return self._while_changed(alarm, familiar) if self.changed else self._while_calm(alarm)

    def settle(self) -> Found | None:
        """What had changed, or was suspected, is made up for: the robot is compared with its usual self at once.

        Returns:
            That the change is over; None where there was none.
        """
        if self._suspicion is not None:
            self._suspicion = None
            self._watch()
        return self._over() if self.changed else None

    def confirm(self) -> Found | None:
        """Something else than errors says that the robot has changed.

        Returns:
            That what was suspected is a change; None where nothing was.
        """
        return None if self._suspicion is None else self._change(self._suspicion)

    def _over(self) -> Found:
        self.condition = Condition.USUAL
        self._expectation = self._newer
        if self._expectation is not None:
            self._watch()
        return Found(kind=Finding.CALM, practised_s=self._changed_steps / self._rate_hz)

    def _while_calm(self, alarm: Alarm | None) -> Found | None:
        before = self._suspicion
        if before is not None:
            before = self._suspicion = replace(before, steps=before.steps + 1)
        if alarm is None:
            if before is not None and before.steps - before.steps_then >= CALM_S * self._rate_hz:
                self._suspicion = None
            return None
        first_check = len(self._joints) - CHECKS
        sensor = SENSORS[alarm.channel - first_check] if alarm.channel >= first_check else ""
        if before is not None and not (sensor and self._checked_up):
            return self._change(before)
        self._watch()
        if before is not None and sensor == before.sensor:
            return None  # which a check-up has looked into, or will
        steps = alarm.step - alarm.since
        joint, size = int(self._joints[alarm.channel]), float(alarm.size[alarm.channel])
        self._suspicion = _Suspicion(steps=steps, steps_then=steps, joint=joint, size=size, sensor=sensor)
        return self._suspicion.found(Finding.SUSPECTED, self._rate_hz)

    def _change(self, suspicion: _Suspicion) -> Found:
        self.condition, self._suspicion = Condition.CHANGED, None
        self._changed_steps, self._calm_steps = suspicion.steps, 0
        self._watch()
        return suspicion.found(Finding.CHANGED, self._rate_hz)

    def _while_changed(self, alarm: Alarm | None, familiar: bool) -> Found | None:
        self._changed_steps += 1
        self._calm_steps += familiar  # where nothing is expected, all may be calm
        practised_s = self._changed_steps / self._rate_hz
        if alarm is not None:
            self._calm_steps = 0
            self._watch()
        if self._calm_steps >= CALM_S * self._rate_hz:
            return self._over()
        if self.condition is Condition.CHANGED and practised_s >= HABIT_S:
            self.condition = Condition.HABIT
            return Found(kind=Finding.HABIT, practised_s=practised_s)
        return None

    def _watch(self) -> None:
        """Begin the test anew."""
        assert self._expectation is not None
        least_steps = UNCALM_EVERY_S * self._rate_hz if self.changed else self._least_steps
        longest = max(each.block for each in self._expectation.calibrations)
        self._detector = ChangeDetector(self._expectation.calibrations, max(least_steps, longest))


@dataclass(frozen=True, kw_only=True)
class _Suspicion:
    """Of a change."""

    steps: int
    """Since errors changed."""
    steps_then: int
    """The same when they alarmed."""
    joint: int
    size: float
    sensor: str

    def found(self, kind: Finding, rate_hz: float) -> Found:
        return Found(kind=kind, practised_s=self.steps / rate_hz, joint=self.joint, size=self.size, sensor=self.sensor)


def suspicions_per_h(false_alarms_per_h: float) -> float:
    """How often a change may be suspected by chance, so that two suspicions within `CALM_S` come as often as this.

    Of s suspicions per hour a share of s CALM_S / 3600 would be followed by another one so soon, and `ALIKE` times as
    many are.

    Raises:
        ValueError: the number is not positive.
    """
    if not false_alarms_per_h > 0.0:
        raise ValueError(f"{false_alarms_per_h} false alarms per hour; it must be positive")
    return max(false_alarms_per_h, math.sqrt(false_alarms_per_h / ALIKE * 3600.0 / CALM_S))
