"""The Minitaur quadruped of PyBullet's data: geometry, stance and the way legs map to motors.

Motor convention: signs are removed, so that all motors are near pi/2 or above in a stance. Each leg is a five-bar with
two motors on one axis: the mean of both angles is the leg's extension, half their difference its swing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from sim.actuator import MotorBank
from sim.body import BASE, Body
from sim.dynamics import TRAINING_RANGES, DynamicsParams
from sim.limits import load_limits
from sim.quiet_bullet import p
from sim.robot import Array, RobotSpec
from sim.sensors import SensorParams
from sim.simulated_robot import SimulatedRobot
from sim.state import Pose

LEGS = ("front_left", "back_left", "front_right", "back_right")
MOTOR_DIRECTION = (-1.0, -1.0, -1.0, -1.0, 1.0, 1.0, 1.0, 1.0)
"""Left motors turn the other way round (pybullet_envs/minitaur/envs/minitaur.py)."""
HIP_X_M = 0.21
"""Half distance between front and back motor axes (pybullet_data/quadruped/minitaur.urdf)."""
HIP_Y_M = 0.0925
"""Mean of the two motor planes of a side, 0.06 m and 0.125 m (same file)."""
UPPER_LINK_M = 0.115
"""Motor axis to knee: 0.06 + 0.055 (minitaur.urdf)."""
LOWER_LINK_M = 0.2
SOLVER_ITERATIONS = 50
"""Chosen by measurement on a trot: the pinned feet gape by up to 2.1 mm with 20 iterations, 1.4 mm with 30, 1.1 mm with
50 and 0.9 mm with 100, at 0.73, 0.83, 1 and 1.35 times the time of a step."""
STAND_EXTENSION_RAD = 1.9
"""A crouch with as much room to lengthen a leg as to shorten it; it holds still at 13 W per motor. The shipped trotting
environment uses 2.0."""
REST_SWING_RAD, REST_EXTENSION_RAD = 2.6, -0.7
"""Around the stance: the body lies on the floor, and the legs, up beside it, bear nothing. From its stance without
torque it sinks until its legs are folded through, and takes up to a minute to sort them."""
LIMITS = load_limits("minitaur")
EXTENSION_LOWER_RAD, EXTENSION_UPPER_RAD = LIMITS.least("leg_extension"), LIMITS.most("leg_extension")
SWING_LIMIT_RAD = LIMITS.most("leg_swing")
SWING_SIGN = (-1.0, -1.0, 1.0, 1.0)
"""Sign per leg that makes a positive swing move the foot forward."""

_KNEE_POINT_R = (0.0, 0.005, 0.2)
_KNEE_POINT_L = (0.0, 0.01, 0.2)
"""Where the two lower links of a leg are pinned together, in their frames (minitaur/envs/minitaur.py)."""
_MOTOR_INERTIA = (0.0002007, 0.0002007, 0.0003588)
"""Of a 0.25 kg cylinder of 43.4 mm radius, 26 mm long. The file's front_leftR motor has no shape and would get almost
no inertia, which makes the robot walk in a curve."""
_MOTORS = tuple(f"motor_{leg}{side}_joint" for leg in LEGS for side in "LR")
_KNEES = tuple(f"knee_{leg}{side}_link" for leg in LEGS for side in "LR")
_BASE_CORNERS = tuple(
    (sx * x, sy * y, sz * z, 0.0)
    for x, y, z in ((0.165, 0.05, 0.035), (0.085, 0.15, 0.025))
    for sx in (-1, 1)
    for sy in (-1, 1)
    for sz in (-1, 1)
)
_MOTOR_RIMS = tuple(
    (0.0434 * math.cos(a), 0.0434 * math.sin(a), sz * 0.013, 0.0)
    for a in [k * math.pi / 8 for k in range(16)]
    for sz in (-1, 1)
)
_LOWER_CORNERS = tuple((sx * 0.005, sy * 0.005, z, 0.0) for sx in (-1, 1) for sy in (-1, 1) for z in (0.0, 0.2032))
"""Corners of the collision shapes that can touch the floor, in their link frames (minitaur.urdf)."""


def knee_angle_rad(extension_rad: float) -> float:
    """Knee angle that closes the symmetric five-bar leg, in motor convention.

    The upper links stand pi - extension from the leg's axis, so the lower links meet it at
    asin(upper sin(extension) / lower).
    """
    return -(math.pi - extension_rad + math.asin(UPPER_LINK_M * math.sin(extension_rad) / LOWER_LINK_M))


def leg_length_m(extension_rad: float) -> float:
    """Motor axis to foot of the symmetric five-bar leg."""
    s = UPPER_LINK_M * math.sin(extension_rad)
    return -UPPER_LINK_M * math.cos(extension_rad) + math.sqrt(LOWER_LINK_M**2 - s * s)


class MinitaurBody(Body):
    """Legs of two halves that are pinned together at the foot."""

    def prepare(self, client: int, body: int, index: Mapping[str, int]) -> None:
        """Choose what collides and pin the two halves of each leg together."""
        # Self-collision stays off (PyBullet's default without its flag): the pinned legs would collide with themselves
        # at every knee and foot, at 10 % more time. Upper legs and side rails never touch the floor first: motors
        # (43 mm) and lower legs reach beyond them in every orientation. Leaving them out saves a third of the time and
        # changes no bit of a walk.
        for joint in range(p.getNumJoints(body, physicsClientId=client)):
            link = p.getJointInfo(body, joint, physicsClientId=client)[12].decode()
            if link.startswith(("upper_leg", "chassis_")):
                p.setCollisionFilterGroupMask(body, joint, 0, 0, physicsClientId=client)
        for motor in self.motors:
            p.changeDynamics(body, index[motor], localInertiaDiagonal=_MOTOR_INERTIA, physicsClientId=client)
        for left, right in self._legs(index):
            p.createConstraint(
                body,
                right,
                body,
                left,
                p.JOINT_POINT2POINT,
                [0, 0, 0],
                _KNEE_POINT_R,
                _KNEE_POINT_L,
                physicsClientId=client,
            )

    def passive_angles(self, joints: Sequence[float]) -> list[float]:
        """Angles of the knees that close the legs."""
        return [
            self.direction[i] * knee_angle_rad(0.5 * (joints[i - i % 2] + joints[i - i % 2 + 1]))
            for i in range(len(joints))
        ]

    def loop_error_m(self, client: int, body: int, index: Mapping[str, int]) -> float:
        """Largest gap between the pinned ends of the two halves of a leg."""
        worst = 0.0
        for left, right in self._legs(index):
            ends = []
            for link, point in ((right, _KNEE_POINT_R), (left, _KNEE_POINT_L)):
                state = p.getLinkState(body, link, computeForwardKinematics=1, physicsClientId=client)
                ends.append(p.multiplyTransforms(state[4], state[5], point, [0, 0, 0, 1])[0])
            worst = max(worst, math.dist(*ends))
        return worst

    def _legs(self, index: Mapping[str, int]) -> list[tuple[int, int]]:
        """Left and right lower link of each leg."""
        knees = [index[name] for name in self.passive]
        return list(zip(knees[::2], knees[1::2], strict=True))


def leg_to_joint() -> Array:
    """Map of (swing x 4, extension x 4) to the eight motors. Returns shape: (8, 8)."""
    out = np.zeros((8, 8))
    for leg, sign in enumerate(SWING_SIGN):
        out[2 * leg, leg] = -sign
        out[2 * leg + 1, leg] = sign
        out[2 * leg : 2 * leg + 2, 4 + leg] = 1.0
    return out


_TO_LEG = np.linalg.inv(leg_to_joint())
_HIPS_M = np.array([(x, y, 0.0) for y in (HIP_Y_M, -HIP_Y_M) for x in (HIP_X_M, -HIP_X_M)])


def leg_pose_to_joints(swing_rad: Array, extension_rad: Array) -> Array:
    """Motor angles of absolute swings and extensions, each of shape (4,). Returns shape: (8,)."""
    joints: Array = leg_to_joint() @ np.concatenate((swing_rad, extension_rad))
    return joints


def leg_lines(joint_rad: Array) -> Array:
    """Foot, knee, motor, other knee and foot of each leg in the body frame. Shapes: (8,), rad, to (4, 5, 3), m.

    Each leg's two halves, which lie side by side, are drawn in the plane between them.
    """
    legs = _TO_LEG @ joint_rad
    swing, extension = legs[:4], legs[4:]
    across = UPPER_LINK_M * np.sin(extension)
    length = np.sqrt(LOWER_LINK_M**2 - across**2) - UPPER_LINK_M * np.cos(extension)
    nothing, knee = np.zeros(4), np.full(4, UPPER_LINK_M)
    reach = np.stack((length, knee, nothing, knee, length), axis=1)
    aside = np.stack((nothing, math.pi - extension, nothing, extension - math.pi, nothing), axis=1)
    angle = swing[:, None] + aside
    drawn = np.stack((np.sin(angle), np.zeros_like(angle), -np.cos(angle)), axis=2)
    lines: Array = _HIPS_M[:, None] + reach[..., None] * drawn
    return lines


def minitaur_spec() -> RobotSpec:
    """What is fixed about the robot; its limits have their sources in ``tables/minitaur.toml``."""
    stand = np.full(8, STAND_EXTENSION_RAD)
    return RobotSpec(
        name="minitaur",
        simulated=True,
        joint_names=tuple(f"{leg}_{side}" for leg in LEGS for side in ("left", "right")),
        foot_names=LEGS,
        limits=LIMITS.rows,
        position_lower_rad=LIMITS.lower("joint_position", 8),
        position_upper_rad=LIMITS.upper("joint_position", 8),
        velocity_limit_radps=LIMITS.upper("joint_velocity", 8),
        torque_limit_nm=LIMITS.upper("joint_torque", 8),
        power_limit_w=LIMITS.most("power"),
        catch_lean_rad=LIMITS.most("lean"),
        motor_temperature_limit_c=LIMITS.most("motor_temperature"),
        stand_position_rad=stand,
        stand_height_m=0.195,
        rest_position_rad=stand + leg_to_joint() @ np.repeat((REST_SWING_RAD, REST_EXTENSION_RAD), 4),
        kp=1.0,
        duty_control=True,
        kd=0.02,
        symmetries=("left_right", "front_back"),
        mass_kg=6.0,
        hip_positions_m=_HIPS_M,
        leg_to_joint=leg_to_joint(),
        leg_lines=leg_lines,
        leg_clearance_m=LIMITS.least("leg_clearance"),
        jolt_limit_radps2=LIMITS.most("jolt"),
        leg_lower_rad=np.repeat((-SWING_LIMIT_RAD, EXTENSION_LOWER_RAD - STAND_EXTENSION_RAD), 4),
        leg_upper_rad=np.repeat((SWING_LIMIT_RAD, EXTENSION_UPPER_RAD - STAND_EXTENSION_RAD), 4),
        battery_nominal_v=16.0,
        battery_minimum_v=LIMITS.least("battery"),
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


MINITAUR = MinitaurBody(
    urdf="quadruped/minitaur.urdf",
    motors=_MOTORS,
    direction=MOTOR_DIRECTION,
    passive=_KNEES,
    rubbing=_KNEES,
    feet=tuple(zip(_KNEES[::2], _KNEES[1::2], strict=True)),
    grip=_KNEES,
    mounts=tuple(zip(_MOTORS[::2], _MOTORS[1::2], strict=True)),
    mount_m=(HIP_X_M, HIP_Y_M),
    outline={BASE: _BASE_CORNERS, **dict.fromkeys(_MOTORS, _MOTOR_RIMS), **dict.fromkeys(_KNEES, _LOWER_CORNERS)},
    motor_model=MotorBank,
    nominal=DynamicsParams(),
    ranges=TRAINING_RANGES,
    fallen_pose=random_fallen_pose,
    solver_iterations=SOLVER_ITERATIONS,
)
"""The lower legs stand for the feet: a proxy for a contact sensor in the foot."""


def make_minitaur(
    seed: int = 0, dynamics: DynamicsParams | None = None, sensors: SensorParams | None = None
) -> SimulatedRobot:
    """A simulated Minitaur standing at the origin; the entry point ``minitaur`` of ``perdure.robots``.

    Args:
        seed: Seed of all sensor noise.
        dynamics: Nominal when None.
        sensors: Realistic noise when None.
    """
    return SimulatedRobot(minitaur_spec(), MINITAUR, seed=seed, dynamics=dynamics, sensors=sensors)
