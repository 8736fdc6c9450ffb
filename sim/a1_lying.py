"""An A1 that nobody has put on its feet: it begins lying limp on its back or its side."""

from __future__ import annotations

import math

import numpy as np

from sim.a1 import JOINT_LOWER_RAD, JOINT_UPPER_RAD, make_a1
from sim.simulated_robot import SimulatedRobot
from sim.state import Pose

LEGS = 4


def lying_pose(rng: np.random.Generator) -> Pose:
    """On its back, rolled by up to a right angle to either side, legs anywhere; dropped from 5 cm, limp."""
    roll = math.pi + rng.uniform(-0.5 * math.pi, 0.5 * math.pi)
    yaw = rng.uniform(-math.pi, math.pi)
    joints = rng.uniform(np.tile(JOINT_LOWER_RAD, LEGS), np.tile(JOINT_UPPER_RAD, LEGS))
    cr, sr, cy, sy = math.cos(roll / 2), math.sin(roll / 2), math.cos(yaw / 2), math.sin(yaw / 2)
    return Pose(
        orientation_xyzw=(cy * sr, sy * sr, sy * cr, cy * cr),
        joint_position=tuple(float(v) for v in joints),
        clearance_m=0.05,
        settle_s=1.0,
    )


def make_a1_lying(seed: int = 0) -> SimulatedRobot:
    """The A1 as `sim.a1.make_a1` makes it, lying at the origin; the entry point ``a1_lying`` of ``perdure.robots``.

    Args:
        seed: of the way it lies and of all sensor noise.
    """
    robot = make_a1(seed)
    robot.place(lying_pose(np.random.default_rng((seed, LEGS))))
    return robot
