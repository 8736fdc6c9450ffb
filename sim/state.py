"""Where a simulated robot is put, where it truly is, and the error of a physics that exploded."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sim.robot import Array
from sim.sensors import yaw_of

Quaternion = tuple[float, float, float, float]


class SimulationError(RuntimeError):
    """The physics exploded (not finite, or absurdly fast); the robot has rebuilt its world at its last place."""


@dataclass(frozen=True, kw_only=True)
class Pose:
    """Where to put the robot down.

    Raises:
        ValueError: a value is not finite or the quaternion has no length.
    """

    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    orientation_xyzw: Quaternion = (0.0, 0.0, 0.0, 1.0)
    joint_position: tuple[float, ...] | None = None
    """None: the nominal stance."""
    clearance_m: float | None = 0.002
    """Height of the lowest point above the floor, whatever the position's z; None: use the position's z."""
    settle_s: float = 0.0
    """The motors stay without current for this long before the robot clock goes on."""

    def __post_init__(self) -> None:
        numbers = (*self.position, *self.orientation_xyzw, *(self.joint_position or ()), self.settle_s)
        if not all(math.isfinite(v) for v in numbers):
            raise ValueError(f"pose has a value that is not finite: {self}")
        if math.hypot(*self.orientation_xyzw) < 1e-6:
            raise ValueError("orientation_xyzw has no length; give a rotation, (0, 0, 0, 1) is level")

    @classmethod
    def standing(cls, x_m: float = 0.0, y_m: float = 0.0, yaw_rad: float = 0.0) -> Pose:
        """The nominal stance at a place on the floor."""
        return cls(position=(x_m, y_m, 0.0), orientation_xyzw=(0.0, 0.0, math.sin(yaw_rad / 2), math.cos(yaw_rad / 2)))


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What really is, for evaluation only."""

    time_s: float
    base_position: Array
    """Shape: (3,), m."""
    orientation_xyzw: Array
    """Shape: (4,)."""
    linear_velocity: Array
    """World frame. Shape: (3,), m/s."""
    angular_velocity: Array
    """World frame. Shape: (3,), rad/s."""
    joint_position: Array
    """Shape: (n_joints,), rad."""
    joint_velocity: Array
    """Shape: (n_joints,), rad/s."""
    joint_torque: Array
    """Torque at the shafts. Shape: (n_joints,), N m."""
    foot_contact: Array
    """Shape: (n_feet,)."""
    energy_j: float
    """Electrical energy taken since the robot was made."""

    @property
    def up_z(self) -> float:
        """Cosine of the tilt: 1 level, -1 upside down."""
        x, y = self.orientation_xyzw[:2]
        return float(1 - 2 * (x * x + y * y))

    @property
    def yaw_rad(self) -> float:
        """Heading of the body's x axis."""
        x, y, z, w = (float(v) for v in self.orientation_xyzw)
        return yaw_of((x, y, z, w))
