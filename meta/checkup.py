"""A check-up: the robot stands and moves one joint after the other, and what it measures says what of it has drifted.

A walk shows that a robot is not what it was, but hardly why: on its feet, in a motion that is always the same, a weak
motor, an encoder that is off and a load differ in all they do. The check-up takes a second and then one for each joint.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sim.robot import Array, Command, CommandMode, Observation, RobotSpec

SETTLE_S, REST_S = 1.0, 0.5
"""On its feet before anything counts, and at rest while it does."""
CYCLES, FREQUENCY_HZ = 2, 2.0
"""Of each joint."""
BETWEEN_S = 0.1
AMPLITUDE_RAD = {2: 0.2, 3: 0.12}
"""By degrees of freedom of a leg."""
_BODY, _PER_JOINT = 5, 11


class CheckUp:
    """The motion, one control period at a time, and what is made of its readings."""

    def __init__(self, spec: RobotSpec, dt_s: float) -> None:
        """Prepare for a control period of ``dt_s``."""
        self._spec = spec
        self._settle = round(SETTLE_S / dt_s)
        self.resting_periods = self._settle + round(REST_S / dt_s)
        """Control periods that it stands, before it moves."""
        cycle = round(CYCLES / FREQUENCY_HZ / dt_s)
        self._cycle, self._each = cycle, cycle + round(BETWEEN_S / dt_s)
        angle = 2.0 * np.pi * FREQUENCY_HZ * dt_s * np.arange(1, cycle + 1)
        self._amplitude = AMPLITUDE_RAD[spec.leg_dofs]
        self._wave = self._amplitude * np.sin(angle)
        self._fourier = np.exp(-1j * angle) * 2.0 / cycle
        self.periods = self.resting_periods + spec.n_joints * self._each
        """Control periods that it takes."""

    def command(self, period: int) -> Command:
        """What is sent in a control period, counted from 0."""
        spec, since = self._spec, period - self.resting_periods
        target = spec.stand_position_rad.copy()
        joint, at = divmod(since, self._each)
        if since >= 0 and at < self._cycle:
            target[joint] += self._wave[at]
        return Command(mode=CommandMode.POSITION, target=target, kp=spec.kp, kd=spec.kd)

    def features(self, readings: Sequence[Observation]) -> Array:
        """What a check-up measured, from a reading after each command.

        Returns:
            Of the robot at rest: joint angles off the stance, torques, gyroscope, lean ahead and to the side. Of each
            joint while it moves: its torque along its motion, which is friction; then the real and imaginary parts, at
            the motion's frequency, of how far it follows, of its torque, and of the body's lean. Shape:
            (`feature_size`,).

        Raises:
            ValueError: there are not as many readings as periods.
        """
        if len(readings) != self.periods:
            raise ValueError(f"{len(readings)} readings of a check-up of {self.periods} control periods")
        angle, torque, _, lean = self._measured(readings)
        velocity = np.array([reading.joint_velocity for reading in readings])
        out = [self.resting(readings[: self.resting_periods])]
        for joint in range(self._spec.n_joints):
            begin = self.resting_periods + joint * self._each
            moving = slice(begin, begin + self._cycle)
            follows = (self._fourier @ angle[moving, joint]) / self._amplitude
            effort = self._fourier @ torque[moving, joint]
            ahead, aside = self._fourier @ lean[moving]
            friction = float(np.mean(torque[moving, joint] * np.sign(velocity[moving, joint])))
            parts = (follows, effort, ahead, aside)
            out.append(np.array([friction, *(part.real for part in parts), *(part.imag for part in parts)]))
        return np.concatenate(out)

    def resting(self, readings: Sequence[Observation]) -> Array:
        """The first features, from readings of `resting_periods` alone."""
        return np.concatenate([part[self._settle :].mean(axis=0) for part in self._measured(readings)])

    def at_rest(self, features: Array) -> Array:
        """Of all features those that `resting` gives."""
        return features[: _BODY + 2 * self._spec.n_joints]

    def _measured(self, readings: Sequence[Observation]) -> tuple[Array, Array, Array, Array]:
        """Joint angles off the stance, torques, gyroscope, lean. Each shape: (T, ...)."""
        return (
            np.array([reading.joint_position for reading in readings]) - self._spec.stand_position_rad,
            np.array([reading.joint_torque for reading in readings]),
            np.array([reading.angular_velocity for reading in readings]),
            np.array([reading.up[:2] for reading in readings]),
        )


def feature_size(spec: RobotSpec) -> int:
    """Width of what `CheckUp.features` returns."""
    return _BODY + _PER_JOINT * spec.n_joints
