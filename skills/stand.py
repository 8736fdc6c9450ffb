"""When a robot stands: what every way of getting up is judged by."""

from __future__ import annotations

import math

import numpy as np

from sim.robot import Observation, RobotSpec

UPRIGHT_TILT_RAD = math.radians(15.0)
"""Tilt below which the robot counts as upright."""
_STANCE_RAD = 0.4
"""Largest distance of a joint from the stance while standing; the weight bends it by about 0.1."""
_STILL_RADPS = 0.6
"""Largest body rate while standing still; far above the noise of a gyroscope, 0.01 rad/s in simulation."""
_STILL_JOINT_RADPS = 2.0
_HOLD_S = 0.5
"""How long the robot must stand still before it has stood up."""
_CONTACT_SHARE = 0.1
"""Share of a new reading in the smoothed contact of a foot."""


class Stand:
    """Follows one robot: upright on most feet, joints near the stance, still for half a second."""

    def __init__(self, spec: RobotSpec, dt_s: float) -> None:
        """Judge readings that come every ``dt_s``."""
        self._spec = spec
        self._dt_s = dt_s
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self._still_s = 0.0
        self.contact = np.zeros(self._spec.n_feet)
        """How much each foot has touched the floor of late, in [0, 1]. Shape: (n_feet,)."""

    def update(self, observation: Observation) -> bool:
        """Whether the robot has stood for long enough, given the newest reading."""
        o = observation
        self.contact += _CONTACT_SHARE * (o.foot_contact - self.contact)
        stands = (
            o.tilt_rad < UPRIGHT_TILT_RAD
            and float(np.abs(o.joint_position - self._spec.stand_position_rad).max()) < _STANCE_RAD
            and float(np.abs(o.joint_velocity).max()) < _STILL_JOINT_RADPS
            and float(np.abs(o.angular_velocity).max()) < _STILL_RADPS
            and float(self.contact.mean()) > 0.5
        )
        self._still_s = self._still_s + self._dt_s if stands else 0.0
        return self._still_s >= _HOLD_S
