"""The A1 quadruped of PyBullet's data: three motors per leg, geometry, stance and the way legs map to motors.

Joint convention is that of the URDF. Abduction turns a leg about the body's x axis (positive to the left), hip and knee
about its y axis: a thigh turned by h and a knee by -2 h hold the foot below the hip. Half the knee angle is therefore
the leg's extension and the hip's distance from it the leg's swing, both exactly, not only near the stance.

Sources: [urdf] pybullet_data/a1/a1.urdf; [lab] Isaac Lab's unitree.py, UNITREE_A1_CFG; [gait] Yang et al. (2021),
"Fast and Efficient Locomotion via Learned Gait Transitions"; [imitation] Peng et al. (2020), "Learning Agile Robotic
Locomotion Skills by Imitating Animals", table of dynamics parameters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from sim.body import BASE, Body, Point
from sim.dynamics import DynamicsParams, DynamicsRanges
from sim.limits import load_limits
from sim.motors import MotorConstants, Motors
from sim.quiet_bullet import p
from sim.robot import Array, RobotSpec
from sim.sensors import SensorParams
from sim.simulated_robot import SimulatedRobot
from sim.state import Pose
from sim.torque_motors import TorqueLimits, TorqueMotors

LEGS = ("front_left", "back_left", "front_right", "back_right")
_PREFIXES = ("FL", "RL", "FR", "RR")
"""The legs' names in the URDF."""
HIP_X_M, HIP_Y_M = 0.183, 0.047
"""Where the legs attach [urdf], about the middle of the trunk, whose centre of mass lies 13 mm ahead of it."""
SHOULDER_M = 0.08505
"""From the axis of abduction out to the thigh [urdf]."""
LINK_M = 0.2
"""Length of thigh and of lower leg [urdf]."""
STAND_HIP_RAD = 0.8
"""Thigh angle of the stance; knees at twice that, so that feet are below hips."""
STAND_HEIGHT_M = 0.291
MASS_KG = 12.458
PHYSICS_HZ = 1000
"""At 500 Hz the velocity gain rings with motors 20 % too strong on legs 20 % too light; here the lightest legs of the
randomisation walk as the nominal ones. A trot takes three quarters of the time of the Minitaur's at 500 Hz."""
SOLVER_ITERATIONS = 10
"""Without loops of links it takes few: with 5, 10 and 20 iterations nominal trots are equally fast within 2 cm/s, at
0.9, 1 and 1.15 times the time of a step."""
LIMITS = load_limits("a1")
PEAK_TORQUE_NM, NO_LOAD_RADPS = LIMITS.most("joint_torque"), LIMITS.most("joint_velocity")
BATTERY_V, BATTERY_EMPTY_V = 24.0, LIMITS.least("battery")
"""Assumed: six lithium cells of 4.0 V."""
LOSS_W_PER_NM2 = 0.3
"""Copper loss of a motor [gait]: power = torque * speed + 0.3 torque^2."""
KP, KD = 80.0, 3.0
"""N m/rad and N m s/rad, by measurement of a plain trot; published ones for this robot are 25-100 and 0.5-10."""
JOINT_LOWER_RAD = tuple(LIMITS.lower("joint_position", 3))
JOINT_UPPER_RAD = tuple(LIMITS.upper("joint_position", 3))
"""Abduction, hip, knee."""

_CONSTANTS = MotorConstants(
    # The robot reports torque estimates, never currents: only the product of current and constant can be seen.
    torque_per_a_nm=1.0,
    loss_w=LOSS_W_PER_NM2,
    # Assumed: 0.6 kg of motor at 450 J/(kg K), half as much again of the frame; a plain trot settles near 45 degrees.
    heat_capacity_j_per_k=400.0,
    thermal_resistance_k_per_w=0.5,
    empty_drop_v=BATTERY_V - BATTERY_EMPTY_V,
)
_LIMITS = TorqueLimits(peak_nm=PEAK_TORQUE_NM, no_load_radps=NO_LOAD_RADPS, nominal_v=BATTERY_V)
_HIPS_M = np.array([(x, y, 0.0) for y in (HIP_Y_M, -HIP_Y_M) for x in (HIP_X_M, -HIP_X_M)])
_SIDES = np.sign(_HIPS_M[:, 1])
_MOTORS = tuple(f"{leg}_{joint}_joint" for leg in _PREFIXES for joint in ("hip", "upper", "lower"))
_TOES = tuple(f"{leg}_toe_fixed" for leg in _PREFIXES)
_HIPS, _THIGHS, _LOWER = _MOTORS[::3], _MOTORS[1::3], _MOTORS[2::3]
_INERTIA_KGM2 = {
    BASE: (0.01683993, 0.056579028, 0.064713601),
    **dict.fromkeys(_HIPS, (0.000469246, 0.00080749, 0.000552929)),
    **dict.fromkeys(_THIGHS, (0.005529065, 0.005139339, 0.001367788)),
    **dict.fromkeys(_LOWER, (0.002997972, 0.003014022, 0.000032426)),
}
"""Diagonals [urdf]. PyBullet computes inertias from the shapes, or turns the base by 0.7 degrees to use the file's."""


def _box(
    x: float, y: float, z: tuple[float, float], shift: tuple[float, float, float] = (0, 0, 0)
) -> tuple[Point, ...]:
    dx, dy, dz = shift
    return tuple((sx * x + dx, sy * y + dy, h + dz, 0.0) for sx in (-1, 1) for sy in (-1, 1) for h in z)


def _rim(radius: float, half: float) -> tuple[Point, ...]:
    """Rims of a cylinder along y."""
    angles = [k * math.pi / 8 for k in range(16)]
    return tuple((radius * math.cos(a), s * half, radius * math.sin(a), 0.0) for a in angles for s in (-1, 1))


_OUTLINE: dict[str, tuple[Point, ...]] = {
    BASE: _box(0.1335, 0.097, (-0.057, 0.057), (-0.012731, -0.002186, -0.000515)),
    **dict.fromkeys(_HIPS, _rim(0.046, 0.02)),
    **dict.fromkeys((f"{leg}_hip_fixed" for leg in _PREFIXES), _rim(0.041, 0.016)),
    **dict.fromkeys(_THIGHS, _box(0.017, 0.01225, (-LINK_M, 0.0))),
    **dict.fromkeys(_LOWER, _box(0.008, 0.008, (-LINK_M, 0.0))),
    **dict.fromkeys(_TOES, ((0.0, 0.0, 0.0, 0.02),)),
}


class A1Body(Body):
    """Legs of single links."""

    def prepare(self, client: int, body: int, index: Mapping[str, int]) -> None:
        """Use the file's inertias. Self-collision stays off: only in the heap after a fall can legs meet each other."""
        for link, inertia in _INERTIA_KGM2.items():
            p.changeDynamics(body, index[link], localInertiaDiagonal=inertia, physicsClientId=client)


def leg_to_joint() -> Array:
    """Map of (swing x 4, extension x 4, abduction x 4) to the twelve motors. Returns shape: (12, 12)."""
    out = np.zeros((12, 12))
    for leg in range(4):
        out[3 * leg, 8 + leg] = 1.0
        out[3 * leg + 1, (leg, 4 + leg)] = -1.0
        out[3 * leg + 2, 4 + leg] = 2.0
    return out


def leg_lines(joint_rad: Array) -> Array:
    """Thigh's upper end, knee and foot of each leg in the body frame. Shapes: (12,), rad, to (4, 3, 3), m."""
    abduction, hip, knee = joint_rad.reshape(4, 3).T
    lower = hip + knee
    ahead = np.stack((np.zeros(4), -LINK_M * np.sin(hip), -LINK_M * (np.sin(hip) + np.sin(lower))), axis=1)
    up = np.stack((np.zeros(4), -LINK_M * np.cos(hip), -LINK_M * (np.cos(hip) + np.cos(lower))), axis=1)
    out = SHOULDER_M * _SIDES[:, None]
    sin, cos = np.sin(abduction)[:, None], np.cos(abduction)[:, None]
    lines: Array = _HIPS_M[:, None] + np.stack((ahead, out * cos - up * sin, out * sin + up * cos), axis=2)
    return lines


def a1_spec() -> RobotSpec:
    """What is fixed about the robot."""
    return RobotSpec(
        name="a1",
        simulated=True,
        joint_names=tuple(f"{leg}_{joint}" for leg in LEGS for joint in ("abduction", "hip", "knee")),
        foot_names=LEGS,
        limits=LIMITS.rows,
        position_lower_rad=LIMITS.lower("joint_position", 12),
        position_upper_rad=LIMITS.upper("joint_position", 12),
        velocity_limit_radps=LIMITS.upper("joint_velocity", 12),
        torque_limit_nm=LIMITS.upper("joint_torque", 12),
        power_limit_w=LIMITS.most("power"),
        catch_lean_rad=LIMITS.most("lean"),
        motor_temperature_limit_c=LIMITS.most("motor_temperature"),
        stand_position_rad=np.tile((0.0, STAND_HIP_RAD, -2.0 * STAND_HIP_RAD), 4),
        stand_height_m=STAND_HEIGHT_M,
        kp=KP,
        kd=KD,
        symmetries=("left_right",),
        mass_kg=MASS_KG,
        caution=5.0,
        hip_positions_m=_HIPS_M,
        leg_to_joint=leg_to_joint(),
        leg_lines=leg_lines,
        leg_clearance_m=LIMITS.least("leg_clearance"),
        jolt_limit_radps2=LIMITS.most("jolt"),
        battery_nominal_v=BATTERY_V,
        battery_minimum_v=BATTERY_EMPTY_V,
    )


def random_fallen_pose(rng: np.random.Generator) -> Pose:
    """Any orientation (uniform over rotations), each joint anywhere within its limits; dropped from 5 cm, limp."""
    q = rng.standard_normal(4)
    q /= np.linalg.norm(q)
    joints = rng.uniform(np.tile(JOINT_LOWER_RAD, 4), np.tile(JOINT_UPPER_RAD, 4))
    x, y, z, w = (float(v) for v in q)
    return Pose(
        orientation_xyzw=(x, y, z, w), joint_position=tuple(float(v) for v in joints), clearance_m=0.05, settle_s=1.0
    )


def _motors(n_motors: int, dt_s: float) -> Motors:
    return TorqueMotors(n_motors, dt_s, _CONSTANTS, _LIMITS)


NOMINAL = DynamicsParams(
    motor_strength=(1.0,) * 12,
    battery_v=BATTERY_V,
    battery_resistance_ohm=0.05,
    # The drivers close their loop at the motor, at least as fast as the physics steps.
    pd_latency_s=0.0,
)
"""Latencies as the Minitaur's: 20 ms in all. Battery resistance assumed."""

TRAINING_RANGES = DynamicsRanges(
    base_mass_ratio=(0.85, 1.15),
    leg_mass_ratio=(0.85, 1.15),
    inertia_ratio=(0.6, 1.4),
    payload_kg=(0.0, 1.0),
    payload_offset_m=(-0.04, 0.04),
    com_offset_m=(-0.004, 0.004),
    motor_strength=(0.85, 1.15),
    motor_spread=0.05,
    viscous_friction_nms=(0.0, 0.035),
    joint_friction_nm=(0.0, 0.3),
    foot_friction=(0.65, 1.15),
    battery_v=(22.0, 25.0),
    control_latency_s=(0.008, 0.032),
    rims={
        "base_mass_ratio": ((0.8, 0.85), (1.15, 1.2)),
        "leg_mass_ratio": ((0.8, 0.85), (1.15, 1.2)),
        "inertia_ratio": ((0.5, 0.6), (1.4, 1.5)),
        "payload_kg": ((1.0, 1.25), (1.25, 1.5)),
        "payload_offset_m": ((-0.05, -0.04), (0.04, 0.05)),
        "com_offset_m": ((-0.005, -0.004), (0.004, 0.005)),
        "motor_strength": ((0.8, 0.85), (1.15, 1.2)),
        "viscous_friction_nms": ((0.035, 0.042), (0.042, 0.05)),
        "joint_friction_nm": ((0.3, 0.35), (0.35, 0.4)),
        "foot_friction": ((0.5, 0.65), (1.15, 1.25)),
        "battery_v": ((20.5, 22.0), (25.0, 25.2)),
        "control_latency_s": ((0.0, 0.008), (0.032, 0.04)),
    },
)
"""[imitation] draws mass 0.8-1.2, inertia 0.5-1.5, motor strength 0.8-1.2, motor friction 0-0.05 N m s/rad, latency
0-40 ms, lateral friction 0.05-1.25; feet below 0.5 slide in any gait and are left out. The training ranges are the
inner part. Payload, centre of mass, joint friction of the gears and battery are assumptions."""

A1 = A1Body(
    urdf="a1/a1.urdf",
    motors=_MOTORS,
    direction=(1.0,) * 12,
    rubbing=_MOTORS,
    feet=tuple((toe,) for toe in _TOES),
    grip=(*_LOWER, *_TOES),
    mounts=tuple((hip,) for hip in _HIPS),
    mount_m=(HIP_X_M, HIP_Y_M),
    outline=_OUTLINE,
    motor_model=_motors,
    nominal=NOMINAL,
    ranges=TRAINING_RANGES,
    fallen_pose=random_fallen_pose,
    solver_iterations=SOLVER_ITERATIONS,
    physics_hz=PHYSICS_HZ,
)


def make_a1(
    seed: int = 0, dynamics: DynamicsParams | None = None, sensors: SensorParams | None = None
) -> SimulatedRobot:
    """A simulated A1 standing at the origin; the entry point ``a1`` of ``perdure.robots``.

    Args:
        seed: Seed of all sensor noise.
        dynamics: `NOMINAL` when None; ``dataclasses.replace`` varies it.
        sensors: Realistic noise when None: the Minitaur's, and torque estimates as coarse as their range is wide.
    """
    return SimulatedRobot(
        a1_spec(), A1, seed=seed, dynamics=dynamics, sensors=sensors or SensorParams(joint_torque_nm=0.5)
    )
