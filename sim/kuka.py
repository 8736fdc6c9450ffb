"""KUKA's LBR iiwa 7 with a two-fingered gripper, over a tray with a cube in it and a sliding door.

The arm is PyBullet's ``kuka_iiwa/kuka_with_gripper2.sdf``. The robot's frame is its foot: the tray lies ahead of it.
"""

from __future__ import annotations

import numpy as np

from sim.limits import load_limits
from sim.robot import ARM_CHANNELS, ArmGeometry, RobotSpec
from sim.simulated_arm import SimulatedArm

LIMITS = load_limits("kuka")
JOINTS = (*(f"J{index}" for index in range(1, 8)), "gripper")
_Y = (0.0, 1.0, 0.0)
_Z = (0.0, 0.0, 1.0)
_SHOULDER_M, _ELBOW_M, _WRIST_M, _FINGERTIPS_M = 0.36, 0.78, 1.18, 1.53
"""Heights above the foot of the upright arm: those of KUKA's drawings, and 20 mm for the plate that it stands on."""
_FINGERS_LEFT_M = 0.022
"""The fingers of PyBullet's model sit beside the axis of the last joint."""
HOME_RAD = (0.0, 0.5, 0.0, -1.6, 0.0, 1.0416, 0.0, 0.25)
"""Over the middle of the tray, pointing down, fingers open."""


def kuka_spec() -> RobotSpec:
    """What is fixed about the arm."""
    n = len(JOINTS)
    down_to_up = (_Z, _Y, _Z, (0.0, -1.0, 0.0), _Z, _Y, _Z)
    heights = (0.0, _SHOULDER_M, 0.0, _ELBOW_M, 0.0, _WRIST_M, 0.0)
    return RobotSpec(
        name="kuka",
        simulated=True,
        joint_names=JOINTS,
        foot_names=(),
        position_lower_rad=LIMITS.lower("joint_position", n),
        position_upper_rad=LIMITS.upper("joint_position", n),
        velocity_limit_radps=LIMITS.upper("joint_velocity", n),
        torque_limit_nm=LIMITS.upper("joint_torque", n),
        power_limit_w=LIMITS.most("power"),
        limits=LIMITS.rows,
        stand_position_rad=np.array(HOME_RAD),
        stand_height_m=0.0,
        kp=0.3,
        kd=1.0,
        control_rate_hz=50.0,
        policy_rate_hz=10.0,
        extra_names=ARM_CHANNELS,
        arm=ArmGeometry(
            axes=np.array(down_to_up),
            points_m=np.array([(0.0, 0.0, height) for height in heights]),
            hand_m=np.array((0.0, _FINGERS_LEFT_M, _FINGERTIPS_M)),
            hand_rotation=np.diag((-1.0, -1.0, 1.0)),
            box_lower_m=LIMITS.lower("hand_position", 3),
            box_upper_m=LIMITS.upper("hand_position", 3),
        ),
        hand_force_limit_n=LIMITS.most("hand_force"),
    )


def make_kuka(seed: int) -> SimulatedArm:
    """The arm in simulation; entry point of the robot ``kuka``."""
    return SimulatedArm(kuka_spec(), seed=seed)
