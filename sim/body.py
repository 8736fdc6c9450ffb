"""What the physics must know about one kind of robot.

A robot is one file (`sim.minitaur`, `sim.a1`): its `Body`, its `sim.robot.RobotSpec` and a function that makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sim.drift import DriftSubject
from sim.dynamics import DynamicsParams, DynamicsRandomiser, DynamicsRanges
from sim.motors import Motors
from sim.robot import RobotSpec
from sim.state import Pose

Point = tuple[float, float, float, float]
"""Centre (x, y, z) in the link's frame, and a radius."""
BASE = "base"
"""Stands for the robot's base among joint names."""


@dataclass(frozen=True, kw_only=True)
class Body:
    """A robot's URDF and the parts of it that matter; a subclass adds what no table can say.

    A link is called by the joint that carries it. Legs: front left, back left, front right, back right.
    """

    urdf: str
    """Path within PyBullet's data."""
    motors: tuple[str, ...]
    """In the order of `RobotSpec.joint_names`."""
    direction: tuple[float, ...]
    """1 or -1 per motor: the URDF's angle is the joint angle times it."""
    passive: tuple[str, ...] = ()
    """Joints without a motor."""
    rubbing: tuple[str, ...]
    """Joints that `DynamicsParams.joint_friction_nm` acts in."""
    feet: tuple[tuple[str, ...], ...]
    """Per foot: the links whose contact is the foot's."""
    grip: tuple[str, ...]
    """Links that `DynamicsParams.foot_friction` acts on."""
    mounts: tuple[tuple[str, ...], ...]
    """Per leg: the links at its mount, which carry payload and shift the centre of mass (`corner_masses_kg`)."""
    mount_m: tuple[float, float]
    """Half distance between front and back mounts, and between left and right ones."""
    outline: Mapping[str, tuple[Point, ...]]
    """Spheres of each link that can touch the floor first; radius 0 for the corners of boxes and cylinders."""
    motor_model: Callable[[int, float], Motors]
    """Makes the motors from their number and the length of a physics step in s."""
    nominal: DynamicsParams
    ranges: DynamicsRanges
    fallen_pose: Callable[[np.random.Generator], Pose]
    """Draws a random fallen pose."""
    solver_iterations: int
    physics_hz: int = 500
    floor: str = "plane_implicit.urdf"
    """URDF of the floor, in PyBullet's data: an endless plane, or a box, which soft feet touch at other points."""
    slope_deg: float = 0.0
    """Slope of the steeper one of two ramps around the middle (`sim.terrain`); 0: the floor is level."""
    pen_m: float | None = None
    """Side of the square around the origin that four walls enclose; None: the floor is open."""

    def randomiser(self, seed: int, *, held_out_values: int = 3) -> DynamicsRandomiser:
        """Draws dynamics of this kind of robot, for training and for evaluations."""
        return DynamicsRandomiser(seed, nominal=self.nominal, ranges=self.ranges, held_out_values=held_out_values)

    def drift_subject(self, spec: RobotSpec) -> DriftSubject:
        """What must be known of this kind of robot to say how it drifts."""
        return DriftSubject(
            joint_names=spec.joint_names,
            n_legs=spec.n_feet,
            mass_kg=spec.mass_kg,
            mount_m=self.mount_m,
            nominal=self.nominal,
            ranges=self.ranges,
        )

    def prepare(self, client: int, body: int, index: Mapping[str, int]) -> None:
        """Finish a loaded robot: filter collisions, close loops of links.

        Args:
            client: PyBullet physics client.
            body: The robot in it, without damping, its joints free.
            index: Joint index by name.
        """

    def passive_angles(self, joints: Sequence[float]) -> list[float]:
        """Angles of the passive joints, in the URDF's own sense, at motor angles in joint convention."""
        del joints
        return []

    def loop_error_m(self, client: int, body: int, index: Mapping[str, int]) -> float:
        """Largest gap between links that are pinned together; 0 without loops of links."""
        del client, body, index
        return 0.0
