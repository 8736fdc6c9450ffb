"""A check-up: the robot stands and moves two joints at a time, and what it measures says what of it has drifted.

A walk shows that a robot is not what it was, but hardly why: on its feet, in a motion that is always the same, a weak
motor, an encoder that is off and a load differ in all they do. First each foot is lifted and set down anew: where a
walk has put them they stick and push against each other, by more than most drifts do. Then the same joint of two
diagonal legs moves at once, one to and fro once and the other twice, so that at its own frequency each is heard alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sim.robot import Array, Command, CommandMode, Observation, RobotSpec

STEP_S, STEPS = 0.15, 3
"""How long a step takes, and how many each foot makes, with that of the diagonal leg."""
LIFT_RAD = {2: 0.2, 3: 0.15}
"""How far a leg shortens for it, by degrees of freedom."""
SETTLE_S, REST_S = 0.5, 0.5
"""On its feet before anything counts, and at rest while it does."""
CYCLE_S, BETWEEN_S = 0.5, 0.1
"""For each two joints."""
CYCLES = (1, 2)
"""Of either joint meanwhile."""
AMPLITUDE_RAD = {2: 0.2, 3: 0.12}
"""By degrees of freedom, too."""
_BODY, _RESTING, _MOVING, _BATTERY = 5, 2, 9, 1
"""Features of the body, of each joint at rest, of each while it moves, and of the battery."""


class CheckUp:
    """The motion, one control period at a time, and what is made of its readings."""

    def __init__(self, spec: RobotSpec, dt_s: float) -> None:
        """Prepare for a control period of ``dt_s``."""
        self._spec = spec
        self.name = f"{spec.name} on feet set down anew, with its battery"
        """Check-ups of another motion, or of another robot, are not to be compared with."""
        dofs, legs = spec.leg_dofs, spec.n_joints // spec.leg_dofs
        self._steps = self._lifts(spec, round(STEP_S / dt_s))
        self._settled = len(self._steps) + round(SETTLE_S / dt_s)
        self.resting_periods = self._settled + round(REST_S / dt_s)
        """Control periods until it has rested, before joints move."""
        cycle = round(CYCLE_S / dt_s)
        self._cycle, self._each = cycle, cycle + round(BETWEEN_S / dt_s)
        angle = 2.0 * np.pi * np.outer(CYCLES, np.arange(1, cycle + 1)) / cycle
        self._amplitude = AMPLITUDE_RAD[spec.leg_dofs]
        self._waves = self._amplitude * np.sin(angle)
        self._fourier = np.exp(-1j * angle) * 2.0 / cycle
        self._pairs = [
            (leg * dofs + dof, (legs - 1 - leg) * dofs + dof) for leg in range(legs // 2) for dof in range(dofs)
        ]
        self.periods = self.resting_periods + len(self._pairs) * self._each
        """Control periods that it takes."""

    @staticmethod
    def _lifts(spec: RobotSpec, periods: int) -> Array:
        """Joint targets off the stance while feet are set down anew. Shape: (T, n_joints)."""
        assert spec.leg_to_joint is not None
        legs, lifts = spec.n_feet, []
        share = np.sin(np.pi * np.arange(1, periods + 1) / periods) ** 2
        for leg in range(legs // 2):
            leg_space = np.zeros(spec.leg_to_joint.shape[1])
            leg_space[[legs + leg, 2 * legs - 1 - leg]] = -LIFT_RAD[spec.leg_dofs]
            lifts.append(np.outer(share, spec.leg_to_joint @ leg_space))
        return np.concatenate(STEPS * lifts)

    def command(self, period: int) -> Command:
        """What is sent in a control period, counted from 0."""
        spec, since = self._spec, period - self.resting_periods
        target = spec.stand_position_rad.copy()
        if period < len(self._steps):
            target += self._steps[period]
        number, at = divmod(since, self._each)
        if since >= 0 and at < self._cycle:
            target[list(self._pairs[number])] += self._waves[:, at]
        return Command(mode=CommandMode.POSITION, target=target, kp=spec.kp, kd=spec.kd)

    def features(self, readings: Sequence[Observation]) -> Array:
        """What a check-up measured, from a reading after each command.

        Returns:
            Of the robot at rest: joint angles off the stance, torques, gyroscope, lean ahead and to the side. Of each
            joint while it moves: its torque along its motion, which is friction; then the real and imaginary parts, at
            its own frequency, of how far it follows, of its torque, and of the body's lean. And how much the battery's
            voltage varies meanwhile, which grows with its resistance. Shape: (`feature_size`,).

        Raises:
            ValueError: there are not as many readings as periods.
        """
        if len(readings) != self.periods:
            raise ValueError(f"{len(readings)} readings of a check-up of {self.periods} control periods")
        angle, torque, _, lean = self._measured(readings)
        velocity = np.array([reading.joint_velocity for reading in readings])
        moved = np.zeros((self._spec.n_joints, _MOVING))
        for number, pair in enumerate(self._pairs):
            begin = self.resting_periods + number * self._each
            moving = slice(begin, begin + self._cycle)
            for joint, fourier in zip(pair, self._fourier, strict=True):
                follows = (fourier @ angle[moving, joint]) / self._amplitude
                effort = fourier @ torque[moving, joint]
                parts = np.array((follows, effort, *(fourier @ lean[moving])))
                friction = np.mean(torque[moving, joint] * np.sign(velocity[moving, joint]))
                moved[joint] = (friction, *parts.real, *parts.imag)
        varies = np.std([reading.battery_v for reading in readings])
        return np.concatenate((self.resting(readings[: self.resting_periods]), moved.ravel(), (varies,)))

    def resting(self, readings: Sequence[Observation]) -> Array:
        """The first features, from readings of `resting_periods` alone."""
        return np.concatenate([part[self._settled :].mean(axis=0) for part in self._measured(readings)])

    def joint_angles(self, features: Array) -> Array:
        """Of the robot at rest, off the stance, from all features or those of `resting`. Shape: (n_joints,), rad."""
        return features[: self._spec.n_joints]

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
    return _BODY + (_RESTING + _MOVING) * spec.n_joints + _BATTERY
