"""What every room shares: the robot protocol and the records that cross it.

This module imports NumPy alone. ``skills`` and ``meta`` may import it and nothing else of ``sim``; drivers for real
robots implement `Robot` and are found through the entry point group ``perdure.robots``.

Conventions: SI units; angles in rad; quaternions are ``xyzw`` (PyBullet's order) and turn body vectors into world
vectors; x points forward, y left, z up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
FloatArray = NDArray[np.floating[Any]]

FORCE_STOP = "force_stop"
"""Further channel of a robot with an arm: 1 while a force at its hand has stopped it by itself, else 0."""
ARM_CHANNELS = (
    "hand_x",
    "hand_y",
    "hand_z",
    "hand_yaw",
    "force_x",
    "force_y",
    "force_z",
    FORCE_STOP,
    "object_x",
    "object_y",
    "object_z",
    "object_yaw",
    "door_m",
    "handle_x",
    "handle_y",
    "handle_z",
)
"""The first further channels of a robot with an arm, an object that a camera sees, and a sliding door: the hand's place
by the joints' encoders, in m and rad; the force on it by their torque sensors, in N; the object's place, in m and rad;
how far the door is open by an encoder on its rail, and where its handle is then, in m."""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A limit of the hardware: a quantity has to stay between two bounds, of which one may be missing."""

    name: str
    unit: str
    lower: tuple[float, ...] | None = None
    """For all joints, or one number for each joint of a leg."""
    upper: tuple[float, ...] | None = None
    source: str

    def __post_init__(self) -> None:
        """Refuse a row that limits nothing or contradicts itself."""
        bounds = [bound for bound in (self.lower, self.upper) if bound is not None]
        if not bounds or not all(bound and all(map(math.isfinite, bound)) for bound in bounds):
            raise ValueError(f"limit {self.name!r} needs finite numbers for lower or upper")
        if self.lower is not None and self.upper is not None:
            same = len(self.lower) == len(self.upper)
            if not same or any(low >= high for low, high in zip(self.lower, self.upper, strict=True)):
                raise ValueError(f"limit {self.name!r} has a lower bound {self.lower} not below the upper {self.upper}")
        if not (self.unit.strip() and self.source.strip()):
            raise ValueError(f"limit {self.name!r} needs a unit and a source: where its numbers come from")

    @property
    def bounds(self) -> dict[str, list[float]]:
        """Those there are, by name."""
        both = {"lower": self.lower, "upper": self.upper}
        return {name: list(bound) for name, bound in both.items() if bound is not None}


def cross_matrices(vectors: Array) -> Array:
    """What multiplies vectors crosswise with these from the left. Shape: (n, 3) to (n, 3, 3)."""
    x, y, z = vectors.T
    zero = np.zeros_like(x)
    return np.stack((zero, -z, y, z, zero, -x, -y, x, zero), axis=1).reshape(-1, 3, 3)


@dataclass(frozen=True, kw_only=True)
class ArmGeometry:
    """Where the joints and the hand of an arm are when all joint positions are 0, in the frame of its base."""

    axes: Array
    """Direction that each joint turns about, from the base to the hand. Shape: (n, 3)."""
    points_m: Array
    """A point on each axis. Shape: (n, 3)."""
    hand_m: Array
    """The point between the fingertips. Shape: (3,)."""
    hand_rotation: Array
    """Columns: the hand's axes; x along which the fingers close, z out of the palm. Shape: (3, 3)."""
    box_lower_m: Array
    """The hand stays in this box. Shape: (3,)."""
    box_upper_m: Array
    """Shape: (3,)."""

    @cached_property
    def crosses(self) -> Array:
        """What multiplies vectors crosswise with each axis. Shape: (n, 3, 3)."""
        return cross_matrices(self.axes)


@dataclass(frozen=True, kw_only=True)
class RobotSpec:
    """What is fixed about a robot: names, limits, rates, geometry.

    Limits are those of the hardware; the agent's safety gate never sends a command outside of them.
    """

    name: str
    simulated: bool = False
    """Whether it is a simulation: a robot that does not say so is real, and no skill is left alone with it that has not
    earned it. No skill may look at this."""
    joint_names: tuple[str, ...]
    foot_names: tuple[str, ...]
    position_lower_rad: Array
    """Shape: (n_joints,)."""
    position_upper_rad: Array
    """Shape: (n_joints,)."""
    velocity_limit_radps: Array
    """Shape: (n_joints,)."""
    torque_limit_nm: Array
    """Shape: (n_joints,)."""
    stand_position_rad: Array
    """Joint positions of the nominal stance. Shape: (n_joints,)."""
    stand_height_m: float
    """Height of the base above the floor in the nominal stance."""
    kp: float
    """Default position gain of the robot's own joint controller, in its units."""
    kd: float
    """Default velocity gain of the robot's own joint controller, in its units."""
    rest_position_rad: Array | None = None
    """Joint positions in which the robot can be left without torque, and gets up from; None: it does from wherever it
    sinks to. Shape: (n_joints,)."""
    duty_control: bool = False
    """Whether its joint controllers ask for shares of the supply voltage: their gains fall with the battery."""
    control_rate_hz: float = 50.0
    policy_rate_hz: float = 25.0
    """Rate of decisions that suits the robot; the control rate is a whole multiple of it."""
    caution: float = 1.0
    """Least Lagrange multiplier of learning under constraints; more for a robot that tips over easily."""
    catch_lean_rad: float = 0.5236
    """Lean from which a fall is caught: more than the robot's gaits lean, less than what it cannot come back from."""
    power_limit_w: float = math.inf
    """Mechanical power of all joints together, as a mean over half a second."""
    limits: tuple[Limit, ...] = ()
    """All limits with their sources, for robots that have a table of them (`sim.limits`)."""
    extra_names: tuple[str, ...] = ()
    """Further channels that the robot measures, such as a task's own observation and reward."""
    symmetries: tuple[str, ...] = ()
    """Mirror images under which the robot's dynamics stay the same: ``left_right``, ``front_back``."""
    mass_kg: float = 0.0
    hip_positions_m: Array | None = None
    """Where the legs attach, in the body frame, in the order of ``foot_names``. Shape: (n_feet, 3)."""
    leg_to_joint: Array | None = None
    """Linear map from leg space around the stance: joint = stand_position + leg_to_joint @ (swing, extension).

    The columns are the swings of all feet in the order of ``foot_names`` (positive moves the foot forward), then their
    extensions (positive lengthens the leg), then, for legs that have them, their abductions (positive moves the foot to
    the left). Shape: (n_joints, leg_dofs * n_feet), rad per rad.
    """
    leg_lower_rad: Array | None = None
    """Lowest (swing, extension) around the stance, which no limit of a single joint can state. Shape: (2 * n_feet,)."""
    leg_upper_rad: Array | None = None
    """Highest (swing, extension) around the stance. Shape: (2 * n_feet,)."""
    leg_lines: Callable[[Array], Array] | None = None
    """Where the links of the legs are: of joint positions, shape (n_joints,), points along each leg in the body frame,
    shape (n_feet, P, 3), in m. None where legs cannot reach each other, or nobody knows."""
    leg_clearance_m: float = 0.0
    """What is to remain between the lines of two legs: their thickness, and room for how far a joint lags behind."""
    arm: ArmGeometry | None = None
    """Of a robot with an arm: its first joints are the arm's, the last one is the gripper, 0 when it is closed."""
    hand_force_limit_n: float = math.inf
    """Force at the hand at which the arm stops by itself (`FORCE_STOP`)."""
    jolt_limit_radps2: float = math.inf
    """Angular acceleration of the body between two readings: beyond it something has hit it."""
    battery_nominal_v: float = 0.0
    battery_minimum_v: float = 0.0
    motor_temperature_limit_c: float = 80.0

    @property
    def n_joints(self) -> int:
        """Number of actuated joints."""
        return len(self.joint_names)

    @property
    def n_feet(self) -> int:
        """Number of feet."""
        return len(self.foot_names)

    @property
    def leg_dofs(self) -> int:
        """Degrees of freedom of a leg in leg space: 2, or 3 with abduction; 0 for a robot without legs."""
        return 0 if self.leg_to_joint is None else self.leg_to_joint.shape[1] // self.n_feet


@dataclass(slots=True)
class Observation:
    """One reading of everything the robot's sensors measured, with their noise, bias, delay and drop-outs."""

    stamp_s: float
    """Robot clock of the measurement."""
    joint_position: Array
    """Shape: (n_joints,), rad."""
    joint_velocity: Array
    """Shape: (n_joints,), rad/s."""
    joint_torque: Array
    """Torque estimated from motor current. Shape: (n_joints,), N m."""
    orientation_xyzw: Array
    """Orientation of the base from the IMU. Shape: (4,)."""
    angular_velocity: Array
    """Gyroscope, body frame. Shape: (3,), rad/s."""
    foot_contact: Array
    """1 where a foot touches something, else 0. Shape: (n_feet,)."""
    battery_v: float
    motor_temperature_c: Array
    """Shape: (n_joints,)."""
    base_position: Array
    """Position from the external tracker, world frame; the last known one during a drop-out. Shape: (3,), m."""
    base_yaw: float
    """Heading from the external tracker, rad in (-pi, pi]; the last known one during a drop-out."""
    base_valid: bool
    """Whether the tracker saw the robot at this reading."""
    image: NDArray[np.uint8] | None = None
    """Optional camera frame. Shape: (height, width, 3)."""
    extra: Array = field(default_factory=lambda: np.zeros(0))
    """The channels of `RobotSpec.extra_names`. Shape: (n_extra,)."""

    @property
    def up(self) -> Array:
        """World's up in the body frame, from the IMU: (0, 0, 1) when level, z < 0 upside down. Shape: (3,)."""
        x, y, z, w = self.orientation_xyzw
        return np.array((2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)))

    @property
    def tilt_rad(self) -> float:
        """Angle between the body's up axis and the world's, in [0, pi]."""
        x, y, _, _ = self.orientation_xyzw
        return math.acos(max(-1.0, min(1.0, 1.0 - 2.0 * (x * x + y * y))))


@dataclass(frozen=True)
class FrameLayout:
    """Where each measurement lies in a frame, the flat float32 vector that is stored for each policy step."""

    n_joints: int
    n_feet: int
    n_extra: int = 0

    @classmethod
    def of(cls, spec: RobotSpec) -> FrameLayout:
        """The layout of a robot's frames."""
        return cls(spec.n_joints, spec.n_feet, len(spec.extra_names))

    @property
    def fields(self) -> tuple[tuple[str, int], ...]:
        """Names and widths of the fields, in storage order."""
        n, f = self.n_joints, self.n_feet
        return (
            ("joint_position", n),
            ("joint_velocity", n),
            ("joint_torque", n),
            ("orientation_xyzw", 4),
            ("angular_velocity", 3),
            ("foot_contact", f),
            ("battery_v", 1),
            ("motor_temperature_c", n),
            ("base_position", 3),
            ("base_yaw", 1),
            ("base_valid", 1),
            ("extra", self.n_extra),
        )

    @property
    def width(self) -> int:
        """Length of a frame."""
        return sum(width for _, width in self.fields)

    def slices(self) -> dict[str, slice]:
        """Slice of each field within a frame."""
        out: dict[str, slice] = {}
        start = 0
        for name, width in self.fields:
            out[name] = slice(start, start + width)
            start += width
        return out

    def pack(self, observation: Observation) -> NDArray[np.float32]:
        """Flatten one observation. Returns shape: (width,), float32."""
        o = observation
        return np.concatenate(
            (
                o.joint_position,
                o.joint_velocity,
                o.joint_torque,
                o.orientation_xyzw,
                o.angular_velocity,
                o.foot_contact,
                (o.battery_v,),
                o.motor_temperature_c,
                o.base_position,
                (o.base_yaw, float(o.base_valid)),
                o.extra,
            ),
            dtype=np.float32,
        )

    def unpack(self, frame: FloatArray, stamp_s: float = 0.0) -> Observation:
        """The observation that was packed into a frame of shape (width,), at float32 precision and without an image."""
        seen: dict[str, Any] = {name: np.asarray(frame[where], np.float64) for name, where in self.slices().items()}
        single = {name: float(seen.pop(name)[0]) for name in ("battery_v", "base_yaw", "base_valid")}
        return Observation(
            stamp_s=stamp_s,
            battery_v=single["battery_v"],
            base_yaw=single["base_yaw"],
            base_valid=single["base_valid"] > 0.5,
            **seen,
        )


class Frames:
    """A batch of frames with named, read-only access to their fields. Leading shape is free: (..., width)."""

    __slots__ = ("_slices", "data")

    def __init__(self, data: FloatArray, layout: FrameLayout) -> None:
        """Wrap ``data`` of shape (..., layout.width) without copying.

        Raises:
            ValueError: the last axis is not as wide as the layout says.
        """
        if data.shape[-1] != layout.width:
            raise ValueError(f"frames are {data.shape[-1]} wide, the robot's layout needs {layout.width}")
        self.data = data
        self._slices = layout.slices()

    def __len__(self) -> int:
        return len(self.data)

    def field(self, name: str) -> FloatArray:
        """One field, shape (..., field width). Raises KeyError naming the valid fields."""
        try:
            return self.data[..., self._slices[name]]
        except KeyError:
            raise KeyError(f"no field {name!r} in a frame; fields are {sorted(self._slices)}") from None

    @property
    def joint_position(self) -> FloatArray:
        """Shape: (..., n_joints), rad."""
        return self.field("joint_position")

    @property
    def joint_velocity(self) -> FloatArray:
        """Shape: (..., n_joints), rad/s."""
        return self.field("joint_velocity")

    @property
    def joint_torque(self) -> FloatArray:
        """Shape: (..., n_joints), N m."""
        return self.field("joint_torque")

    @property
    def orientation_xyzw(self) -> FloatArray:
        """Shape: (..., 4)."""
        return self.field("orientation_xyzw")

    @property
    def angular_velocity(self) -> FloatArray:
        """Shape: (..., 3), rad/s, body frame."""
        return self.field("angular_velocity")

    @property
    def battery_v(self) -> FloatArray:
        """Shape: (...), V."""
        return self.field("battery_v")[..., 0]

    @property
    def base_position(self) -> FloatArray:
        """Shape: (..., 3), m, world frame."""
        return self.field("base_position")

    @property
    def base_yaw(self) -> FloatArray:
        """Shape: (...), rad."""
        return self.field("base_yaw")[..., 0]

    @property
    def base_valid(self) -> NDArray[np.bool_]:
        """Shape: (...): whether the tracker saw the robot."""
        return self.field("base_valid")[..., 0] > 0.5

    @property
    def extra(self) -> FloatArray:
        """The robot's further channels. Shape: (..., n_extra)."""
        return self.field("extra")

    @property
    def up(self) -> FloatArray:
        """World's up in the body frame, from the IMU: (0, 0, 1) when level, z < 0 upside down. Shape: (..., 3)."""
        x, y, z, w = np.moveaxis(self.orientation_xyzw, -1, 0)
        return np.stack((2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)), axis=-1)


@dataclass(frozen=True, slots=True)
class Transition:
    """A batch of consecutive policy steps of attempts: what the robot measured and did, never a reward.

    Every skill's reward, termination and cost are pure functions of this record, so that each skill can learn from
    everything the robot ever did.
    """

    frame: Frames
    """Measured before the action. Leading shape: (batch,)."""
    action: FloatArray
    """What was sent after filtering, in the action space of the skill's family, each in [-1, 1]. (batch, actions)."""
    previous_action: FloatArray
    """The action of the step before; the resting action at the start of an attempt. (batch, actions)."""
    next_frame: Frames
    """Measured one policy step later."""
    dt_s: FloatArray
    """Robot time between the two frames. (batch,)."""

    def __len__(self) -> int:
        return len(self.action)


class CommandMode(StrEnum):
    """How a robot turns a command into torque."""

    POSITION = "position"
    """PD control towards ``target`` (rad) with the command's gains."""
    TORQUE = "torque"
    """``target`` is a torque in N m."""
    DAMPING = "damping"
    """Velocity damping with ``kd``; ``target`` is ignored."""


@dataclass(slots=True)
class Command:
    """One target per joint, held by the robot until the next command comes or its own timer runs out."""

    mode: CommandMode
    target: Array
    """Shape: (n_joints,), rad or N m by ``mode``."""
    kp: float
    kd: float
    sequence: int = 0
    """Rises by one with each command; a robot drops what is not newer than the last."""
    gain_scale: Array | None = None
    """What both gains of each joint are multiplied by; None: 1 for all. Shape: (n_joints,)."""


@dataclass(frozen=True, kw_only=True)
class Health:
    """The robot's own word on whether it is fit to move."""

    ok: bool
    problems: tuple[str, ...] = ()


@runtime_checkable
class Robot(Protocol):
    """Anything that can be observed and commanded: a simulator, a process behind a socket, or hardware."""

    @property
    def spec(self) -> RobotSpec:
        """What is fixed about the robot; readable before it is powered."""

    def read(self) -> Observation:
        """The newest reading of all sensors."""

    def write(self, command: Command) -> None:
        """Set the command that the robot holds from now on. Older sequence numbers are dropped."""

    def stop(self) -> None:
        """Damping now, then torque off. Safe to call at any time and more than once."""

    def cut(self) -> None:
        """Torque off at once, as an emergency stop does."""

    def health(self) -> Health:
        """Self-check of the robot; never moves it."""

    def close(self) -> None:
        """Release the robot; it holds no torque afterwards."""


class Clock(Protocol):
    """The robot clock: simulated seconds in a simulator, monotonic seconds on hardware."""

    @property
    def dt_s(self) -> float:
        """Control period."""

    def now_s(self) -> float:
        """Robot time in s; never goes back."""

    def tick(self) -> float:
        """Wait for (or simulate) one control period. Returns by how many s of wall time the deadline was missed."""


def body_velocity(transition: Transition) -> FloatArray:
    """Mean planar velocity and yaw rate over a step, from the tracker. Shape: (batch, 3): forward, left, yaw rate.

    Noise of the tracker goes into it, as on a real robot; steps whose ends the tracker did not see give zeros.
    """
    a, b = transition.frame, transition.next_frame
    delta = b.base_position[..., :2] - a.base_position[..., :2]
    turn = wrap_angle(b.base_yaw - a.base_yaw)
    heading = a.base_yaw + 0.5 * turn
    c, s = np.cos(heading), np.sin(heading)
    forward = c * delta[..., 0] + s * delta[..., 1]
    left = -s * delta[..., 0] + c * delta[..., 1]
    velocity = np.stack((forward, left, turn), axis=-1) / transition.dt_s[..., None]
    seen = a.base_valid & b.base_valid
    return np.where(seen[..., None], velocity, 0.0)


def rotation_between(before: FloatArray, after: FloatArray) -> FloatArray:
    """The small rotation from one orientation to another, about the axes of the first, in rad.

    Args:
        before: quaternions xyzw. Shape: (..., 4).
        after: the same.

    Returns:
        Rotation vectors, off by less than 1 % up to half a radian. Shape: (..., 3).
    """
    (x, y, z, w), vector = np.moveaxis(before, -1, 0), after[..., :3]
    own = np.stack((x, y, z), axis=-1)
    turned = w[..., None] * vector - after[..., 3:] * own - np.cross(own, vector)
    cosine = (before * after).sum(axis=-1, keepdims=True)
    rotation: FloatArray = 2.0 * np.where(cosine < 0.0, -turned, turned)
    return rotation


def wrap_angle(angle: FloatArray) -> FloatArray:
    """Wrap to (-pi, pi]."""
    return np.arctan2(np.sin(angle), np.cos(angle))
