"""The Minitaur quadruped of PyBullet's data: geometry, stance and the way legs map to motors.

Motor convention: signs are removed, so that all motors are near pi/2 or above in a stance. Each leg is a five-bar with
two motors on one axis: the mean of both angles is the leg's extension, half their difference its swing.
"""

from __future__ import annotations

import math

import numpy as np

from sim.bullet_world import LEGS
from sim.dynamics import CORNER_X_M, CORNER_Y_M, DynamicsParams
from sim.robot import Array, RobotSpec
from sim.sensors import SensorParams
from sim.simulated_robot import SimulatedRobot
from sim.state import Pose

STAND_EXTENSION_RAD = 1.9
"""A crouch with as much room to lengthen a leg as to shorten it; it holds still at 13 W per motor. The shipped trotting
environment uses 2.0."""
EXTENSION_LOWER_RAD = 0.35
"""Below, the knees of a leg pass each other above the motor."""
EXTENSION_UPPER_RAD = 2.75
"""Above, the leg is nearly straight (pi) and the motors lose control over its length."""
SWING_LIMIT_RAD = 1.5 * math.pi
"""A leg can swing all the way round in either direction, and a quarter turn more."""
SWING_SIGN = (-1.0, -1.0, 1.0, 1.0)
"""Sign per leg that makes a positive swing move the foot forward."""


def leg_to_joint() -> Array:
    """Map of (swing x 4, extension x 4) to the eight motors. Returns shape: (8, 8)."""
    out = np.zeros((8, 8))
    for leg, sign in enumerate(SWING_SIGN):
        out[2 * leg, leg] = -sign
        out[2 * leg + 1, leg] = sign
        out[2 * leg : 2 * leg + 2, 4 + leg] = 1.0
    return out


def leg_pose_to_joints(swing_rad: Array, extension_rad: Array) -> Array:
    """Motor angles of absolute swings and extensions, each of shape (4,). Returns shape: (8,)."""
    joints: Array = leg_to_joint() @ np.concatenate((swing_rad, extension_rad))
    return joints


def minitaur_spec() -> RobotSpec:
    """What is fixed about the robot; sources of the motor figures are in `sim.actuator`."""
    stand = np.full(8, STAND_EXTENSION_RAD)
    return RobotSpec(
        name="minitaur",
        joint_names=tuple(f"{leg}_{side}" for leg in LEGS for side in ("left", "right")),
        foot_names=LEGS,
        position_lower_rad=np.full(8, EXTENSION_LOWER_RAD - SWING_LIMIT_RAD),
        position_upper_rad=np.full(8, EXTENSION_UPPER_RAD + SWING_LIMIT_RAD),
        velocity_limit_radps=np.full(8, 16.0 / 0.0954),
        torque_limit_nm=np.full(8, 3.5),
        stand_position_rad=stand,
        stand_height_m=0.195,
        kp=1.0,
        kd=0.02,
        mass_kg=6.0,
        hip_positions_m=np.array([(x, y, 0.0) for y in (CORNER_Y_M, -CORNER_Y_M) for x in (CORNER_X_M, -CORNER_X_M)]),
        leg_to_joint=leg_to_joint(),
        leg_lower_rad=np.repeat((-SWING_LIMIT_RAD, EXTENSION_LOWER_RAD - STAND_EXTENSION_RAD), 4),
        leg_upper_rad=np.repeat((SWING_LIMIT_RAD, EXTENSION_UPPER_RAD - STAND_EXTENSION_RAD), 4),
        battery_nominal_v=16.0,
        battery_minimum_v=14.0,
    )


def random_fallen_pose(rng: np.random.Generator) -> Pose:
    """Any orientation (uniform over rotations), any swing of each leg, any extension; dropped from 5 cm, limp."""
    q = rng.standard_normal(4)
    q /= np.linalg.norm(q)
    swing = rng.uniform(-math.pi, math.pi, 4)
    extension = rng.uniform(EXTENSION_LOWER_RAD + 0.1, EXTENSION_UPPER_RAD - 0.1, 4)
    x, y, z, w = (float(v) for v in q)
    joints = tuple(float(v) for v in leg_pose_to_joints(swing, extension))
    return Pose(orientation_xyzw=(x, y, z, w), joint_position=joints, clearance_m=0.05, settle_s=1.0)


def make_minitaur(
    seed: int = 0, dynamics: DynamicsParams | None = None, sensors: SensorParams | None = None
) -> SimulatedRobot:
    """A simulated Minitaur standing at the origin; the entry point ``minitaur`` of ``perdure.robots``.

    Args:
        seed: Seed of all sensor noise.
        dynamics: Nominal when None.
        sensors: Realistic noise when None.
    """
    return SimulatedRobot(
        minitaur_spec(), seed=seed, dynamics=dynamics, sensors=sensors, fallen_pose=random_fallen_pose
    )
