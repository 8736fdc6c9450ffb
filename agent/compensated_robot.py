"""A robot with known drifts that behaves as it did before: what it measures and is told is corrected for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sim.drift import Drift, DriftKind
from sim.robot import Command, CommandMode, Health, Observation, Robot, RobotSpec

CORRECTED = frozenset({DriftKind.MOTOR_STRENGTH, DriftKind.JOINT_OFFSET, DriftKind.GYRO_BIAS})
LEAST_STRENGTH = 0.3
"""A motor that is weaker gets no more than what makes up for this: it would be at its limit all the time."""
BATTERY_SHARE = 0.02
"""Of each new reading of the battery's voltage in the one that counts: a second's mean at 50 readings per second."""


class CompensatedRobot:
    """Hands on what another robot measures and is told, corrected for what is known to have drifted.

    The gains of a weak motor are raised, so that its controller asks for the torque that a whole one gives, and all
    gains where they fall with the battery, which is measured. An encoder that is off is corrected both ways, a
    gyroscope that is off, and the torque of a weak motor, where they are read.
    """

    def __init__(self, robot: Robot) -> None:
        """Correct nothing yet."""
        self._robot = robot
        self._supply_v = robot.spec.battery_nominal_v
        self.compensate(())

    def compensate(self, drifts: Sequence[Drift]) -> None:
        """Correct for these drifts from now on, in place of those before; what cannot be corrected is left out."""
        names = self._robot.spec.joint_names
        self.drifts = tuple(drifts)
        """What is known to have drifted."""
        self._gain, self._offset_rad = np.ones(len(names)), np.zeros(len(names))
        self._turn_radps = np.zeros(3)
        for drift in drifts:
            index = [names.index(joint) for joint in drift.joints or names]
            if drift.kind is DriftKind.MOTOR_STRENGTH:
                self._gain[index] /= max(drift.size, LEAST_STRENGTH)
            elif drift.kind is DriftKind.JOINT_OFFSET:
                self._offset_rad[index] += drift.size
            elif drift.kind is DriftKind.GYRO_BIAS:
                self._turn_radps["xyz".index(drift.axis)] += drift.size

    @property
    def spec(self) -> RobotSpec:
        """The robot's."""
        return self._robot.spec

    def read(self) -> Observation:
        """What it would measure if nothing had drifted."""
        raw = self._robot.read()
        if raw.battery_v > 0.0:
            self._supply_v += BATTERY_SHARE * (raw.battery_v - self._supply_v)
        return replace(
            raw,
            joint_position=raw.joint_position - self._offset_rad,
            # A motor's torque is made out of its current, of which a weak one makes less.
            joint_torque=raw.joint_torque / self._gain,
            angular_velocity=raw.angular_velocity - self._turn_radps,
        )

    def write(self, command: Command) -> None:
        """Make it do what it would do if nothing had drifted; as far as its motors can."""
        if command.mode is CommandMode.TORQUE:
            most_nm = self.spec.torque_limit_nm
            command = replace(command, target=np.clip(command.target * self._gain, -most_nm, most_nm))
        elif command.mode is CommandMode.POSITION:
            # What the safety gate has let through may not leave the limits here.
            lower, upper = self.spec.position_lower_rad, self.spec.position_upper_rad
            target = np.clip(command.target + self._offset_rad, lower, upper)
            asked = 1.0 if command.gain_scale is None else command.gain_scale
            command = replace(command, target=target, gain_scale=self._supply_gain() * self._gain * asked)
        self._robot.write(command)

    def _supply_gain(self) -> float:
        nominal_v = self.spec.battery_nominal_v
        return nominal_v / max(self._supply_v, LEAST_STRENGTH * nominal_v) if self.spec.duty_control else 1.0

    def stop(self) -> None:
        """See `Robot`."""
        self._robot.stop()

    def cut(self) -> None:
        """See `Robot`."""
        self._robot.cut()

    def health(self) -> Health:
        """See `Robot`."""
        return self._robot.health()

    def close(self) -> None:
        """See `Robot`."""
        self._robot.close()
