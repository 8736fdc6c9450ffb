"""One PyBullet world with one robot in it, on a physics client of its own.

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

from sim.body import BASE, Body, Point
from sim.dynamics import DynamicsParams, corner_masses_kg, within_reach
from sim.quiet_bullet import p, pybullet_data, quiet
from sim.terrain import build_ramps, height_m

PHYSICS_HZ = 500
"""Of robots that need no other rate."""
GRAVITY = 9.81
_PHYSICAL = (
    "base_mass_ratio",
    "leg_mass_ratio",
    "inertia_ratio",
    "payload_kg",
    "payload_offset_m",
    "com_offset_m",
    "joint_friction_nm",
    "extra_friction_nm",
    "foot_friction",
)
"""What of the dynamics is PyBullet's matter."""
WALL_GAP_M = 0.002
WALL_THICKNESS_M, WALL_LENGTH_M, WALL_HEIGHT_M = 0.05, 2.0, 0.5
"""Half of each."""


@dataclass(slots=True)
class World:
    """Handles of a built world.

    Attributes:
        model: What is fixed about the robot.
        client: PyBullet physics client.
        body: Robot body.
        floor: Floor body.
        ramps: Bodies that rise from the floor; the robot walks on them as on it.
        index: Joint index by name; a link has the index of the joint that carries it, the base has -1.
        motors: Joint index of each motor, in joint order.
        passive: Joint index of each joint without a motor.
        foot_of_link: Foot index of each link of a foot.
        nominal: Per link (-1 is the base): mass in kg and inertia diagonal, as loaded.
    """

    model: Body
    client: int
    body: int
    floor: int
    ramps: tuple[int, ...]
    index: dict[str, int]
    motors: tuple[int, ...]
    passive: tuple[int, ...]
    foot_of_link: dict[int, int]
    nominal: dict[int, tuple[float, tuple[float, float, float]]]

    def links(self, names: Sequence[str]) -> tuple[int, ...]:
        """Indices of links."""
        return tuple(self.index[name] for name in names)

    def close(self) -> None:
        """Disconnect the client; closing twice does nothing."""
        with contextlib.suppress(p.error):
            p.disconnect(physicsClientId=self.client)


def build_world(model: Body, *, visual: bool = False) -> World:
    """Open a client and load floor and robot, motors free, at the origin.

    Args:
        model: The robot.
        visual: Load what a camera sees; physics does not need it.

    Raises:
        RuntimeError: PyBullet has no free client; close robots that are no longer used.
    """
    with quiet():
        client = int(p.connect(p.DIRECT))
        if client < 0:
            raise RuntimeError("PyBullet gave no physics client; close robots that are no longer used")
        p.setTimeStep(1.0 / model.physics_hz, physicsClientId=client)
        p.setGravity(0.0, 0.0, -GRAVITY, physicsClientId=client)
        p.setPhysicsEngineParameter(
            numSolverIterations=model.solver_iterations,
            enableConeFriction=0,
            deterministicOverlappingPairs=1,
            physicsClientId=client,
        )
        floor = _load_floor(client, "plane.urdf" if visual else model.floor)
        ramps = build_ramps(client, model.slope_deg)
        flags = 0 if visual else p.URDF_IGNORE_VISUAL_SHAPES
        path = Path(pybullet_data.getDataPath()) / model.urdf
        body = int(p.loadURDF(str(path), [0.0, 0.0, 0.3], flags=flags, physicsClientId=client))
        if model.pen_m is not None:
            for side in range(4):
                _build_wall(client, side, 0.5 * model.pen_m, (0.0, 0.0), 0.5 * model.pen_m + 2.0 * WALL_THICKNESS_M)
    return _equip(model, client, body, floor, ramps)


def _load_floor(client: int, urdf: str) -> int:
    floor = int(p.loadURDF(str(Path(pybullet_data.getDataPath()) / urdf), physicsClientId=client))
    p.changeDynamics(floor, -1, lateralFriction=1.0, physicsClientId=client)
    return floor


def _equip(model: Body, client: int, body: int, floor: int, ramps: tuple[int, ...]) -> World:
    index = {BASE: -1}
    for joint in range(p.getNumJoints(body, physicsClientId=client)):
        index[p.getJointInfo(body, joint, physicsClientId=client)[1].decode()] = joint
    motors = tuple(index[name] for name in model.motors)
    passive = tuple(index[name] for name in model.passive)
    for link in index.values():
        # Real joints have no air damping of this kind; friction is modelled where it acts.
        p.changeDynamics(body, link, linearDamping=0.0, angularDamping=0.0, physicsClientId=client)
    free = (*motors, *passive)
    p.setJointMotorControlArray(body, free, p.VELOCITY_CONTROL, forces=[0.0] * len(free), physicsClientId=client)
    model.prepare(client, body, index)
    nominal = {}
    for link in index.values():
        dynamics = p.getDynamicsInfo(body, link, physicsClientId=client)
        ixx, iyy, izz = (float(v) for v in dynamics[2])
        nominal[link] = (float(dynamics[0]), (ixx, iyy, izz))
    return World(
        model=model,
        client=client,
        body=body,
        floor=floor,
        ramps=ramps,
        index=index,
        motors=motors,
        passive=passive,
        foot_of_link={index[link]: foot for foot, links in enumerate(model.feet) for link in links},
        nominal=nominal,
    )


def apply_dynamics(world: World, params: DynamicsParams) -> None:
    """Set masses, inertias, centre of mass and frictions of the robot; motors and delays are not PyBullet's matter.

    Raises:
        ValueError: the centre of mass cannot be reached (`corner_masses_kg`).
    """
    c, body, model = world.client, world.body, world.model
    mounts = [world.links(names) for names in model.mounts]
    mounted = {link for links in mounts for link in links}
    masses = _masses_kg(world, params)
    mount_kg = sum(world.nominal[link][0] for link in mounts[0])
    corners = corner_masses_kg(params, mount_kg, sum(masses.values()) + params.payload_kg, model.mount_m)
    for links, corner in zip(mounts, corners, strict=True):
        for link in links:
            masses[link] = corner / len(links)
    for link, mass in masses.items():
        nominal_mass, inertia = world.nominal[link]
        # Mass hung at a mount does not turn with the motor there, hence its inertia follows the ratio alone.
        scale = params.inertia_ratio * (1.0 if link in mounted else mass / nominal_mass)
        p.changeDynamics(body, link, mass=mass, localInertiaDiagonal=[v * scale for v in inertia], physicsClientId=c)
    for link in world.links(model.grip):
        p.changeDynamics(body, link, lateralFriction=params.foot_friction, physicsClientId=c)
    rubbing = world.links(model.rubbing)
    frictions = [params.joint_friction_nm + more for more in params.extra_friction_nm or (0.0,) * len(rubbing)]
    p.setJointMotorControlArray(body, rubbing, p.VELOCITY_CONTROL, forces=frictions, physicsClientId=c)


def differ(one: DynamicsParams, other: DynamicsParams) -> bool:
    """Whether `apply_dynamics` would do something else for one of them than for the other."""
    return any(getattr(one, name) != getattr(other, name) for name in _PHYSICAL)


def reachable(world: World, params: DynamicsParams) -> DynamicsParams:
    """The same dynamics with a centre of mass that this robot can have (`sim.dynamics.within_reach`)."""
    mount_kg = sum(world.nominal[link][0] for link in world.links(world.model.mounts[0]))
    total_kg = sum(_masses_kg(world, params).values()) + params.payload_kg
    return within_reach(params, mount_kg, total_kg, world.model.mount_m)


def _masses_kg(world: World, params: DynamicsParams) -> dict[int, float]:
    """Mass of each link, before anything is hung at the mounts."""
    mounted = {world.index[name] for names in world.model.mounts for name in names}
    out = {}
    for link, (mass, _) in world.nominal.items():
        ratio = params.base_mass_ratio if link == -1 else 1.0 if link in mounted else params.leg_mass_ratio
        out[link] = mass * ratio
    return out


def pose_robot(
    world: World,
    position: Sequence[float],
    orientation: Sequence[float],
    joints: Sequence[float],
    clearance: float | None,
) -> None:
    """Put the robot at rest somewhere, its loops of links closed.

    Args:
        world: A freshly built world.
        position: Position of the base (the centre of mass of its link) in m.
        orientation: Base orientation, xyzw.
        joints: Motor angles in joint convention, rad.
        clearance: Move the robot up or down until its lowest point is this far above the ground; None keeps its height.
    """
    c, body, model = world.client, world.body, world.model
    for motor, direction, angle in zip(world.motors, model.direction, joints, strict=True):
        p.resetJointState(body, motor, direction * angle, physicsClientId=c)
    for joint, angle in zip(world.passive, model.passive_angles(joints), strict=True):
        p.resetJointState(body, joint, angle, physicsClientId=c)
    x, y, z = position
    p.resetBasePositionAndOrientation(body, (x, y, z), orientation, physicsClientId=c)
    if clearance is not None:
        p.resetBasePositionAndOrientation(
            body, (x, y, z - lowest_point_m(world) + clearance), orientation, physicsClientId=c
        )


def lowest_point_m(world: World) -> float:
    """Height above the ground below it of the robot's lowest point."""
    c, body, slope_deg = world.client, world.body, world.model.slope_deg
    lowest = math.inf
    for name, points in world.model.outline.items():
        link = world.index[name]
        if link == -1:
            (_, y, z), q = p.getBasePositionAndOrientation(body, physicsClientId=c)
        else:
            (_, y, z), q = p.getLinkState(body, link, computeForwardKinematics=1, physicsClientId=c)[4:6]
        lowest = min(lowest, _lowest(y, z, p.getMatrixFromQuaternion(q), points, slope_deg))
    return lowest


def _lowest(y: float, z: float, rotation: Sequence[float], points: Sequence[Point], slope_deg: float) -> float:
    return min(
        z
        + rotation[6] * a
        + rotation[7] * b
        + rotation[8] * h
        - r
        - height_m(slope_deg, y + rotation[3] * a + rotation[4] * b + rotation[5] * h)
        for a, b, h, r in points
    )


def loop_error_m(world: World) -> float:
    """Largest gap between links that are pinned together."""
    return world.model.loop_error_m(world.client, world.body, world.index)


def push(world: World, impulse_ns: Sequence[float], above_m: float) -> None:
    """Knock the base in the next physics step, by an impulse in world axes, so far above its middle.

    Raises:
        ValueError: a number is not finite.
    """
    if not all(math.isfinite(value) for value in (*impulse_ns, above_m)):
        raise ValueError(f"a push of {impulse_ns} N s at {above_m} m is not finite")
    (x, y, z), _ = p.getBasePositionAndOrientation(world.body, physicsClientId=world.client)
    force = [component * world.model.physics_hz for component in impulse_ns]
    p.applyExternalForce(world.body, -1, force, (x, y, z + above_m), flags=p.WORLD_FRAME, physicsClientId=world.client)


def put_wall(world: World, side: int) -> None:
    """Build a wall that just does not touch the robot, on the side of the world's x, y, -x or -y axis (0 to 3).

    Raises:
        ValueError: there is no such side.
    """
    if side not in range(4):
        raise ValueError(f"side {side} of a wall is not one of 0 (x), 1 (y), 2 (-x), 3 (-y)")
    c, body = world.client, world.body
    boxes = [p.getAABB(body, link, physicsClientId=c) for link in world.index.values()]
    axis, outward = side % 2, 1.0 if side < 2 else -1.0
    face = max(outward * corner[axis] for box in boxes for corner in box)
    x, y, _ = p.getBasePositionAndOrientation(body, physicsClientId=c)[0]
    _build_wall(c, side, face + WALL_GAP_M, (x, y), WALL_LENGTH_M)


def _build_wall(client: int, side: int, face_m: float, beside_m: tuple[float, float], half_length_m: float) -> None:
    """Build a wall whose face is so far out along the world's x, y, -x or -y axis, its middle beside a place."""
    axis, outward = side % 2, 1.0 if side < 2 else -1.0
    centre = [*beside_m, WALL_HEIGHT_M]
    centre[axis] = outward * (face_m + WALL_THICKNESS_M)
    half = [half_length_m, half_length_m, WALL_HEIGHT_M]
    half[axis] = WALL_THICKNESS_M
    shape = p.createCollisionShape(p.GEOM_BOX, halfExtents=half, physicsClientId=client)
    p.createMultiBody(baseMass=0.0, baseCollisionShapeIndex=shape, basePosition=centre, physicsClientId=client)


def foot_contacts(world: World, n_feet: int) -> list[float]:
    """1.0 for each foot one of whose links touches the ground, else 0.0."""
    out = [0.0] * n_feet
    feet = world.foot_of_link
    for contact in _ground_contacts(world):
        foot = feet.get(contact[3])
        if foot is not None:
            out[foot] = 1.0
    return out


def body_contact(world: World) -> bool:
    """Whether the base or the mount of a leg touches the ground."""
    body = {-1, *(world.index[link] for links in world.model.mounts for link in links)}
    return any(contact[3] in body for contact in _ground_contacts(world))


def any_contact(world: World) -> bool:
    """Whether anything of the robot touches the ground."""
    return len(_ground_contacts(world)) > 0


def _ground_contacts(world: World) -> Sequence[Any]:
    """PyBullet's contact points of the robot with the floor and what rises from it."""
    contacts: Sequence[Any] = p.getContactPoints(world.body, world.floor, physicsClientId=world.client)
    for ramp in world.ramps:
        contacts = (*contacts, *p.getContactPoints(world.body, ramp, physicsClientId=world.client))
    return contacts


def copy_pose(source: World, target: World) -> None:
    """Give one world's robot the pose of another's, for rendering."""
    position, orientation = p.getBasePositionAndOrientation(source.body, physicsClientId=source.client)
    p.resetBasePositionAndOrientation(target.body, position, orientation, physicsClientId=target.client)
    joints = (*source.motors, *source.passive)
    for joint, state in zip(joints, p.getJointStates(source.body, joints, physicsClientId=source.client), strict=True):
        p.resetJointState(target.body, joint, state[0], physicsClientId=target.client)


def render(world: World, width: int, height: int, target: Sequence[float]) -> Any:
    """RGB picture from behind and above, drawn on the CPU. Returns (height * width * 4) values, RGBA."""
    view = p.computeViewMatrixFromYawPitchRoll(target, 1.1, 40.0, -25.0, 0.0, 2)
    projection = p.computeProjectionMatrixFOV(60.0, width / height, 0.05, 10.0)
    return p.getCameraImage(width, height, view, projection, renderer=p.ER_TINY_RENDERER, physicsClientId=world.client)[
        2
    ]
