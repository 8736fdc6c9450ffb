"""One PyBullet world with one Minitaur in it, on a physics client of its own.

Only a freshly built world is repeatable: PyBullet's saved states are not bit-exact and leak, and so does
``resetSimulation``. Every placement therefore opens a new client and closes the old one.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim.dynamics import DynamicsParams, corner_masses_kg
from sim.quiet_bullet import p, pybullet_data, quiet

PHYSICS_HZ = 500
GRAVITY = 9.81
SOLVER_ITERATIONS = 50
"""Chosen by measurement on a trot: the pinned feet gape by up to 2.1 mm with 20 iterations, 1.4 mm with 30, 1.1 mm with
50 and 0.9 mm with 100, at 0.73, 0.83, 1 and 1.35 times the time of a step."""
LEGS = ("front_left", "back_left", "front_right", "back_right")
MOTOR_DIRECTION = (-1.0, -1.0, -1.0, -1.0, 1.0, 1.0, 1.0, 1.0)
"""Left motors turn the other way round (pybullet_envs/minitaur/envs/minitaur.py)."""
UPPER_LINK_M = 0.115
"""Motor axis to knee: 0.06 + 0.055 (minitaur.urdf)."""
LOWER_LINK_M = 0.2
_KNEE_POINT_R = (0.0, 0.005, 0.2)
_KNEE_POINT_L = (0.0, 0.01, 0.2)
"""Where the two lower links of a leg are pinned together, in their frames (minitaur/envs/minitaur.py)."""
_MOTOR_INERTIA = (0.0002007, 0.0002007, 0.0003588)
"""Of a 0.25 kg cylinder of 43.4 mm radius, 26 mm long. The file's front_leftR motor has no shape and would get almost
no inertia, which makes the robot walk in a curve."""


@dataclass(slots=True)
class World:
    """Handles of a built world.

    Attributes:
        client: PyBullet physics client.
        body: Robot body.
        floor: Floor body.
        motors: Joint index of each motor, motor order.
        knees: Joint index of each knee, motor order.
        foot_of_link: Foot index of each lower leg link.
        nominal: Per link (-1 is the base): mass in kg and inertia diagonal, as loaded.
    """

    client: int
    body: int
    floor: int
    motors: tuple[int, ...]
    knees: tuple[int, ...]
    foot_of_link: dict[int, int]
    nominal: dict[int, tuple[float, tuple[float, float, float]]]

    def close(self) -> None:
        """Disconnect the client; closing twice does nothing."""
        with contextlib.suppress(p.error):
            p.disconnect(physicsClientId=self.client)


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


def build_world(*, visual: bool = False) -> World:
    """Open a client and load floor and robot, motors free, legs closed, at the origin.

    Args:
        visual: Load what a camera sees; physics does not need it.

    Raises:
        RuntimeError: PyBullet has no free client; close robots that are no longer used.
    """
    with quiet():
        client = int(p.connect(p.DIRECT))
        if client < 0:
            raise RuntimeError("PyBullet gave no physics client; close robots that are no longer used")
        p.setTimeStep(1.0 / PHYSICS_HZ, physicsClientId=client)
        p.setGravity(0.0, 0.0, -GRAVITY, physicsClientId=client)
        p.setPhysicsEngineParameter(
            numSolverIterations=SOLVER_ITERATIONS,
            enableConeFriction=0,
            deterministicOverlappingPairs=1,
            physicsClientId=client,
        )
        floor = _load_floor(client, visual)
        flags = 0 if visual else p.URDF_IGNORE_VISUAL_SHAPES
        path = Path(pybullet_data.getDataPath()) / "quadruped" / "minitaur.urdf"
        body = int(p.loadURDF(str(path), [0.0, 0.0, 0.3], flags=flags, physicsClientId=client))
    return _equip(client, body, floor)


def _load_floor(client: int, visual: bool) -> int:
    path = Path(pybullet_data.getDataPath()) / ("plane.urdf" if visual else "plane_implicit.urdf")
    floor = int(p.loadURDF(str(path), physicsClientId=client))
    p.changeDynamics(floor, -1, lateralFriction=1.0, physicsClientId=client)
    return floor


def _equip(client: int, body: int, floor: int) -> World:
    info = [
        p.getJointInfo(body, j, physicsClientId=client) for j in range(p.getNumJoints(body, physicsClientId=client))
    ]
    index = {i[1].decode(): int(i[0]) for i in info}
    sides = [(leg, side) for leg in LEGS for side in "LR"]
    motors = tuple(index[f"motor_{leg}{side}_joint"] for leg, side in sides)
    knees = tuple(index[f"knee_{leg}{side}_link"] for leg, side in sides)
    _close_legs(client, body, info, motors, knees)
    nominal = {}
    for link in range(-1, len(info)):
        dynamics = p.getDynamicsInfo(body, link, physicsClientId=client)
        ixx, iyy, izz = (float(v) for v in dynamics[2])
        nominal[link] = (float(dynamics[0]), (ixx, iyy, izz))
    return World(
        client=client,
        body=body,
        floor=floor,
        motors=motors,
        knees=knees,
        foot_of_link={link: i // 2 for i, link in enumerate(knees)},
        nominal=nominal,
    )


def _close_legs(client: int, body: int, info: list[Any], motors: tuple[int, ...], knees: tuple[int, ...]) -> None:
    """Choose what collides, free all joints, and pin the two halves of each leg together."""
    # Self-collision stays off (PyBullet's default without its flag): the pinned legs would collide with themselves at
    # every knee and foot, at 10 % more time. Upper legs and side rails never touch the floor first: motors (43 mm)
    # and lower legs reach beyond them in every orientation. Leaving them out saves a third of the time and changes
    # no bit of a walk.
    for i in info:
        name = i[12].decode()
        if name.startswith(("upper_leg", "chassis_")):
            p.setCollisionFilterGroupMask(body, i[0], 0, 0, physicsClientId=client)
    for link in range(-1, len(info)):
        # Real joints have no air damping of this kind; friction is modelled where it acts.
        p.changeDynamics(body, link, linearDamping=0.0, angularDamping=0.0, physicsClientId=client)
    for motor in motors:
        p.changeDynamics(body, motor, localInertiaDiagonal=_MOTOR_INERTIA, physicsClientId=client)
    p.setJointMotorControlArray(
        body, (*motors, *knees), p.VELOCITY_CONTROL, forces=[0.0] * (len(motors) + len(knees)), physicsClientId=client
    )
    for leg in range(len(LEGS)):
        left, right = knees[2 * leg], knees[2 * leg + 1]
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


def apply_dynamics(world: World, params: DynamicsParams) -> None:
    """Set masses, inertias, centre of mass and frictions of the robot; motors and delays are not PyBullet's matter.

    Raises:
        ValueError: the centre of mass cannot be reached (`corner_masses_kg`).
    """
    c, body = world.client, world.body
    motor_links = set(world.motors)
    masses = {}
    for link, (mass, _) in world.nominal.items():
        ratio = params.base_mass_ratio if link == -1 else 1.0 if link in motor_links else params.leg_mass_ratio
        masses[link] = mass * ratio
    motor_kg = 2 * world.nominal[world.motors[0]][0]
    corners = corner_masses_kg(params, motor_kg, sum(masses.values()) + params.payload_kg)
    for i, motor in enumerate(world.motors):
        masses[motor] = 0.5 * corners[i // 2]
    for link, mass in masses.items():
        nominal_mass, inertia = world.nominal[link]
        # Mass hung at a mount does not turn with the rotor, hence its inertia follows the ratio alone.
        scale = params.inertia_ratio * (1.0 if link in motor_links else mass / nominal_mass)
        p.changeDynamics(body, link, mass=mass, localInertiaDiagonal=[v * scale for v in inertia], physicsClientId=c)
    for knee in world.knees:
        p.changeDynamics(body, knee, lateralFriction=params.foot_friction, physicsClientId=c)
    p.setJointMotorControlArray(
        body, world.knees, p.VELOCITY_CONTROL, forces=[params.joint_friction_nm] * len(world.knees), physicsClientId=c
    )


def pose_robot(
    world: World,
    position: Sequence[float],
    orientation: Sequence[float],
    joints: Sequence[float],
    clearance: float | None,
) -> None:
    """Put the robot at rest somewhere, knees closed.

    Args:
        world: A freshly built world.
        position: Base position in m.
        orientation: Base orientation, xyzw.
        joints: Motor angles in motor convention, rad.
        clearance: Move the robot up or down until its lowest point is this far above the floor; None keeps its height.
    """
    c, body = world.client, world.body
    for i, (motor, knee) in enumerate(zip(world.motors, world.knees, strict=True)):
        direction = MOTOR_DIRECTION[i]
        extension = 0.5 * (joints[i - i % 2] + joints[i - i % 2 + 1])
        p.resetJointState(body, motor, direction * joints[i], physicsClientId=c)
        p.resetJointState(body, knee, direction * knee_angle_rad(extension), physicsClientId=c)
    x, y, z = position
    p.resetBasePositionAndOrientation(body, (x, y, z), orientation, physicsClientId=c)
    if clearance is not None:
        p.resetBasePositionAndOrientation(
            body, (x, y, z - lowest_point_m(world) + clearance), orientation, physicsClientId=c
        )


_POINTS: dict[str, tuple[tuple[float, float, float], ...]] = {
    "base": tuple((sx * 0.165, sy * 0.05, sz * 0.035) for sx in (-1, 1) for sy in (-1, 1) for sz in (-1, 1))
    + tuple((sx * 0.085, sy * 0.15, sz * 0.025) for sx in (-1, 1) for sy in (-1, 1) for sz in (-1, 1)),
    "motor": tuple(
        (0.0434 * math.cos(a), 0.0434 * math.sin(a), sz * 0.013)
        for a in [k * math.pi / 8 for k in range(16)]
        for sz in (-1, 1)
    ),
    "lower": tuple((sx * 0.005, sy * 0.005, z) for sx in (-1, 1) for sy in (-1, 1) for z in (0.0, 0.2032)),
}
"""Corners of the collision shapes that can touch the floor, in their link frames (minitaur.urdf)."""


def lowest_point_m(world: World) -> float:
    """Height of the robot's lowest point above the floor."""
    c, body = world.client, world.body
    frames = [(*p.getBasePositionAndOrientation(body, physicsClientId=c), "base")]
    for kind, links in (("motor", world.motors), ("lower", world.knees)):
        for link in links:
            state = p.getLinkState(body, link, computeForwardKinematics=1, physicsClientId=c)
            frames.append((state[4], state[5], kind))
    lowest = math.inf
    for (_, _, z), q, kind in frames:
        rotation = p.getMatrixFromQuaternion(q)
        lowest = min(lowest, *(z + rotation[6] * a + rotation[7] * b + rotation[8] * h for a, b, h in _POINTS[kind]))
    return lowest


def loop_error_m(world: World) -> float:
    """Largest gap between the pinned ends of the two halves of a leg."""
    c, body = world.client, world.body
    worst = 0.0
    for leg in range(len(LEGS)):
        ends = []
        for link, point in ((world.knees[2 * leg + 1], _KNEE_POINT_R), (world.knees[2 * leg], _KNEE_POINT_L)):
            state = p.getLinkState(body, link, computeForwardKinematics=1, physicsClientId=c)
            ends.append(p.multiplyTransforms(state[4], state[5], point, [0, 0, 0, 1])[0])
        worst = max(worst, math.dist(*ends))
    return worst


def foot_contacts(world: World, n_feet: int) -> list[float]:
    """1.0 for each leg whose lower links touch the floor, else 0.0: a proxy for a contact sensor in the foot."""
    out = [0.0] * n_feet
    feet = world.foot_of_link
    for contact in p.getContactPoints(world.body, world.floor, physicsClientId=world.client):
        foot = feet.get(contact[3])
        if foot is not None:
            out[foot] = 1.0
    return out


def any_contact(world: World) -> bool:
    """Whether anything of the robot touches the floor."""
    return len(p.getContactPoints(world.body, world.floor, physicsClientId=world.client)) > 0


def copy_pose(source: World, target: World) -> None:
    """Give one world's robot the pose of another's, for rendering."""
    position, orientation = p.getBasePositionAndOrientation(source.body, physicsClientId=source.client)
    p.resetBasePositionAndOrientation(target.body, position, orientation, physicsClientId=target.client)
    joints = (*source.motors, *source.knees)
    for joint, state in zip(joints, p.getJointStates(source.body, joints, physicsClientId=source.client), strict=True):
        p.resetJointState(target.body, joint, state[0], physicsClientId=target.client)


def render(world: World, width: int, height: int, target: Sequence[float]) -> Any:
    """RGB picture from behind and above, drawn on the CPU. Returns (height * width * 4) values, RGBA."""
    view = p.computeViewMatrixFromYawPitchRoll(target, 1.1, 40.0, -25.0, 0.0, 2)
    projection = p.computeProjectionMatrixFOV(60.0, width / height, 0.05, 10.0)
    return p.getCameraImage(width, height, view, projection, renderer=p.ER_TINY_RENDERER, physicsClientId=world.client)[
        2
    ]
