"""The Minitaur of PyBullet's trotting environment, in the same physics, for comparison with the policy that it ships.

The environment (pybullet_envs/minitaur/envs: minitaur_trotting_env.py, minitaur_gym_env.py, minitaur_rainbow_dash.py)
is that of Tan et al. (2018), "Sim-to-Real: Learning Agile Locomotion For Quadruped Robots". Its robot, identified on
hardware, is heavier than `sim.minitaur`'s and stands on the longer one of each leg's two lower links. Physics runs at
1000 Hz in 10 m/s^2; the supply does not sag; sensors have no noise, but are 20 ms late, while commands act at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from sim.actuator import MotorBank
from sim.body import BASE, Body, Point
from sim.dynamics import TRAINING_RANGES, DynamicsParams
from sim.minitaur import (
    EXTENSION_LOWER_RAD,
    EXTENSION_UPPER_RAD,
    LEGS,
    LIMITS,
    MOTOR_DIRECTION,
    SWING_LIMIT_RAD,
    leg_to_joint,
    random_fallen_pose,
)
from sim.quiet_bullet import p
from sim.robot import RobotSpec
from sim.sensors import SensorParams
from sim.simulated_robot import SimulatedRobot

GRAVITY = 10.0
"""minitaur_gym_env.py: setGravity(0, 0, -10)."""
PHYSICS_HZ = 1000
"""Control step of 6 ms in 6 physics steps (minitaur_trotting_env.py)."""
SOLVER_ITERATIONS = 50
"""300 over the physics steps of a control step (minitaur_gym_env.py)."""
STAND_EXTENSION_RAD = 2.0
"""The environment's init_extension."""
HIP_X_M = 0.2375
HIP_Y_M = 0.1265
"""Half distances between motor axes and between the legs' middle planes (minitaur_rainbow_dash.urdf)."""
UPPER_LINK_M = 0.101
"""Motor axis to knee: 0.045 + 0.056 (same file)."""
LONG_LINK_M = 0.208
SHORT_LINK_M = 0.2
"""Knee to pin. The pin is 0.088 and 0.1 m beyond the links' centres of mass, which are 0.12 and 0.1 m from the knees
(minitaur_rainbow_dash.py and the URDF)."""
_LONG_PIN = (0.0, 0.0045, 0.088)
_SHORT_PIN = (0.0, 0.0045, 0.1)

_SIDES = tuple(f"{leg}{side}" for leg in LEGS for side in "LR")
_IS_LONG = tuple((i % 2 == 0) == (i < 4) for i in range(8))
"""The outer link of each leg is the long one."""
_MOTORS = tuple(f"motor_{side}_joint" for side in _SIDES)
_UPPERS = tuple(f"hip_{side}_joint" for side in _SIDES)
_KNEES = tuple(f"knee_{side}_joint" for side in _SIDES)
_RAILS = ("chassis_left_center", "chassis_right_center")


def _box(centre: tuple[float, float, float], size: tuple[float, float, float]) -> tuple[Point, ...]:
    """Corners of a box."""
    (x, y, z), (a, b, c) = centre, (0.5 * s for s in size)
    return tuple((x + i * a, y + j * b, z + k * c, 0.0) for i in (-1, 1) for j in (-1, 1) for k in (-1, 1))


# Collision shapes of the URDF. The base's points count from its centre of mass, 0.05 m ahead of its origin.
_BASE_POINTS = _box((-0.05, 0.0, 0.0), (0.3, 0.13, 0.087)) + _box((0.05, 0.0, 0.08), (0.08, 0.08, 0.08))
_RAIL_POINTS = tuple(point for x in (-HIP_X_M, HIP_X_M) for point in _box((x, 0.0, 0.0), (0.068, 0.14, 0.05)))
_MOTOR_POINTS = tuple(
    (0.0425 * math.cos(k * math.pi / 8), 0.0425 * math.sin(k * math.pi / 8), z, 0.0)
    for k in range(16)
    for z in (-0.0105, 0.0105)
)
_UPPER_POINTS = _box((0.0, 0.0, 0.0), (0.039, 0.008, 0.129))
_LONG_POINTS = _box((0.0, 0.0, 0.12), (0.017, 0.009, 0.24))
_SHORT_POINTS = _box((0.0, 0.0, 0.108), (0.017, 0.009, 0.216))


def knee_angles_rad(extension_rad: float) -> tuple[float, float]:
    """Knee angles that close a leg of unequal lower links, in motor convention.

    With the knees at ±b from the leg's axis, b = upper sin(extension), the pin lies
    x = (long^2 - short^2) / (4 b) to the short link's side of the axis.

    Returns:
        Knee of the long and of the short lower link.
    """
    b = UPPER_LINK_M * math.sin(extension_rad)
    x = (LONG_LINK_M**2 - SHORT_LINK_M**2) / (4.0 * b)
    fold = math.pi - extension_rad
    return -(fold + math.asin((b + x) / LONG_LINK_M)), -(fold + math.asin((b - x) / SHORT_LINK_M))


class TrottingBody(Body):
    """Legs of two unequal halves that are pinned together above the foot."""

    def prepare(self, client: int, body: int, index: Mapping[str, int]) -> None:
        """Set the environment's gravity, and pin the two halves of each leg together."""
        p.setGravity(0.0, 0.0, -GRAVITY, physicsClientId=client)
        # The environment does not sort the pairs in contact; a freshly built world is repeatable either way.
        p.setPhysicsEngineParameter(deterministicOverlappingPairs=0, physicsClientId=client)
        for (left, left_pin), (right, right_pin) in self._pins(index):
            p.createConstraint(
                body, right, body, left, p.JOINT_POINT2POINT, [0, 0, 0], right_pin, left_pin, physicsClientId=client
            )

    def passive_angles(self, joints: Sequence[float]) -> list[float]:
        """Angles of the knees that close the legs."""
        out = []
        for i, is_long in enumerate(_IS_LONG):
            long_rad, short_rad = knee_angles_rad(0.5 * (joints[i - i % 2] + joints[i - i % 2 + 1]))
            out.append(self.direction[i] * (long_rad if is_long else short_rad))
        return out

    def loop_error_m(self, client: int, body: int, index: Mapping[str, int]) -> float:
        """Largest gap between the pinned ends of the two halves of a leg."""
        worst = 0.0
        for pins in self._pins(index):
            ends = []
            for link, point in pins:
                state = p.getLinkState(body, link, computeForwardKinematics=1, physicsClientId=client)
                ends.append(p.multiplyTransforms(state[0], state[1], point, [0, 0, 0, 1])[0])
            worst = max(worst, math.dist(*ends))
        return worst

    def _pins(self, index: Mapping[str, int]) -> Iterator[tuple[tuple[int, Sequence[float]], ...]]:
        """Per leg: left and right lower link, each with the place of the pin from its centre of mass."""
        ends = [(index[knee], _LONG_PIN if long else _SHORT_PIN) for knee, long in zip(_KNEES, _IS_LONG, strict=True)]
        yield from zip(ends[::2], ends[1::2], strict=True)


def minitaur_trotting_spec() -> RobotSpec:
    """What is fixed about the robot; gains are the environment's."""
    return RobotSpec(
        name="minitaur_trotting",
        simulated=True,
        joint_names=tuple(f"{leg}_{side}" for leg in LEGS for side in ("left", "right")),
        foot_names=LEGS,
        position_lower_rad=np.full(8, EXTENSION_LOWER_RAD - SWING_LIMIT_RAD),
        position_upper_rad=np.full(8, EXTENSION_UPPER_RAD + SWING_LIMIT_RAD),
        velocity_limit_radps=LIMITS.upper("joint_velocity", 8),
        torque_limit_nm=LIMITS.upper("joint_torque", 8),
        # Told to crouch as falls are caught, it does not come up again at these gains: it never does.
        catch_lean_rad=math.pi,
        stand_position_rad=np.full(8, STAND_EXTENSION_RAD),
        stand_height_m=0.256,
        kp=1.0,
        duty_control=True,
        kd=0.015,
        symmetries=("left_right",),
        mass_kg=7.473,
        hip_positions_m=np.array([(x, y, -0.0185) for y in (HIP_Y_M, -HIP_Y_M) for x in (HIP_X_M, -HIP_X_M)]),
        leg_to_joint=leg_to_joint(),
        leg_lower_rad=np.repeat((-SWING_LIMIT_RAD, EXTENSION_LOWER_RAD - STAND_EXTENSION_RAD), 4),
        leg_upper_rad=np.repeat((SWING_LIMIT_RAD, EXTENSION_UPPER_RAD - STAND_EXTENSION_RAD), 4),
        battery_nominal_v=16.0,
        battery_minimum_v=LIMITS.least("battery"),
    )


MINITAUR_TROTTING = TrottingBody(
    urdf="quadruped/minitaur_rainbow_dash.urdf",
    motors=_MOTORS,
    direction=MOTOR_DIRECTION,
    passive=_KNEES,
    rubbing=_KNEES,
    feet=tuple(zip(_KNEES[::2], _KNEES[1::2], strict=True)),
    grip=_KNEES,
    mounts=tuple(zip(_MOTORS[::2], _MOTORS[1::2], strict=True)),
    mount_m=(HIP_X_M, HIP_Y_M),
    outline={
        BASE: _BASE_POINTS,
        **dict.fromkeys(_RAILS, _RAIL_POINTS),
        **dict.fromkeys(_MOTORS, _MOTOR_POINTS),
        **dict.fromkeys(_UPPERS, _UPPER_POINTS),
        **{knee: _LONG_POINTS if long else _SHORT_POINTS for knee, long in zip(_KNEES, _IS_LONG, strict=True)},
    },
    motor_model=MotorBank,
    nominal=DynamicsParams(battery_resistance_ohm=0.0, action_latency_s=0.0, observation_latency_s=0.02),
    ranges=replace(
        TRAINING_RANGES,
        com_offset_m=(-0.002, 0.002),
        rims={**TRAINING_RANGES.rims, "com_offset_m": ((-0.004, -0.002), (0.002, 0.004))},
    ),
    fallen_pose=random_fallen_pose,
    solver_iterations=SOLVER_ITERATIONS,
    physics_hz=PHYSICS_HZ,
    # Without a policy the environment's robot walks 0.95 m on this box, and ours 0.6 m on the plane.
    floor="plane.urdf",
)
"""Its motors weigh 72 g, which leaves less room for shifting the centre of mass than `sim.minitaur` has."""


def make_minitaur_trotting(
    seed: int = 0, dynamics: DynamicsParams | None = None, sensors: SensorParams | None = None
) -> SimulatedRobot:
    """The robot standing at the origin; the entry point ``minitaur_trotting`` of ``perdure.robots``.

    Args:
        seed: Seed of all sensor noise.
        dynamics: The environment's when None.
        sensors: Ideal when None, as in the environment.
    """
    return SimulatedRobot(
        minitaur_trotting_spec(),
        MINITAUR_TROTTING,
        seed=seed,
        dynamics=dynamics,
        sensors=sensors or SensorParams.ideal(),
    )
