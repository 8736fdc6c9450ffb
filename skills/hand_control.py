"""The family of the hand's skills: each action is a velocity of the hand, a turn, and how far the fingers close.

The hand points down and stays in its box (`sim.robot.ArmGeometry`). The policy sees where hand, object and door are, by
encoders and a camera, and what the hand feels.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sim.robot import ARM_CHANNELS, FORCE_STOP, Array, Command, CommandMode, FloatArray, Frames, Observation, RobotSpec
from skills.arm_kinematics import hand_pose, pointing_down, step_towards
from skills.family import Family

SPEED_MPS = 0.25
"""Of the hand along each axis at an action of 1: what ISO 10218-1 allows beside a person."""
TURN_RADPS = 1.5
MOST_TURN_RAD = 0.5 * math.pi
"""Either way: fingers that close along a line need no more."""
ACTIONS = 5
LET_GO_S, BACK_S, RETREAT_S = 0.4, 0.4, 4.0
"""After an attempt: how long fingers open, how long the hand backs off what it meets on its way up, and the most that
all of it takes."""
DONE = 75.0
"""Reward of having done what was to be done, after which nothing more is to be had: more than what lingering on the
verge of it is worth, at 1.25 a step for ever and the default discount of 0.98."""
CLEAR_M = 0.2
"""Height of a hand that is above all that there is."""
MET_N = 20.0
"""Force on a hand that has met something."""
HANDLE_ROOM_M = 0.08
"""A hand that is nearer than this to the handle of the door, or below it, may have met that."""
NEAR_M, FINE_M = 0.2, 0.03
"""Distances that count as one between the hand and what it moves, and of how far that is to go. The second is for what
is decided within a finger's width."""
_SPEED_SHARE = 0.9
"""Of the joints' own limits, so that the safety gate has nothing to change."""


def _channels(first: str, last: str) -> slice:
    return slice(ARM_CHANNELS.index(first), ARM_CHANNELS.index(last) + 1)


HAND = _channels("hand_x", "hand_z")
"""Of `sim.robot.ARM_CHANNELS`: where the hand is."""
OBJECT = _channels("object_x", "object_z")
"""Where the object is."""
HAND_YAW = _channels("hand_yaw", "hand_yaw")
OBJECT_YAW = _channels("object_yaw", "object_yaw")
DOOR = _channels("door_m", "door_m")
"""How far the door is open."""
HANDLE = _channels("handle_x", "handle_z")
"""Where its handle is."""
_FORCE = _channels("force_x", "force_z")
_FORCE_STOP = ARM_CHANNELS.index(FORCE_STOP)
THINGS = ("object", "door")
"""What the hand can move."""


def command_for(thing: str, way_m: tuple[float, float]) -> tuple[float, ...]:
    """What tells a task of the hand from the others.

    Args:
        thing: which one of `THINGS` the hand is to move.
        way_m: x and y of where to, from the middle between the places where the tasks with this thing bring it.

    Returns:
        The way, and 1 for the thing that is meant, 0 for others. Length: 2 + the number of things.

    Raises:
        ValueError: the hand knows no such thing.
    """
    if thing not in THINGS:
        raise ValueError(f"the hand moves no {thing!r}; it moves: {', '.join(THINGS)}")
    return (*(along / NEAR_M for along in way_m), *(float(thing == other) for other in THINGS))


class HandActuator:
    """Moves the hand from where it is, at the control rate; its joints follow by inverse kinematics."""

    phase_rad = 0.0

    def __init__(self, spec: RobotSpec, dt_s: float) -> None:
        """Prepare for one attempt at a control period of ``dt_s``."""
        assert spec.arm is not None
        self._arm, self._dt_s = spec.arm, dt_s
        self._posture = spec.stand_position_rad[:-1]
        self._most_rad = _SPEED_SHARE * spec.velocity_limit_radps[:-1] * dt_s
        self._open_rad = float(spec.position_upper_rad[-1])
        self._finger_rad = _SPEED_SHARE * float(spec.velocity_limit_radps[-1]) * dt_s
        self._kp, self._kd = spec.kp, spec.kd
        self._joints, self._place, self._yaw, self._fingers = self._posture, np.zeros(3), 0.0, self._open_rad

    def start(self, observation: Observation) -> None:
        """Begin where the hand is."""
        self._joints, self._fingers = observation.joint_position[:-1].copy(), float(observation.joint_position[-1])
        pose = hand_pose(self._arm, self._joints)
        self._place = self._boxed(pose.position_m)
        heading = math.atan2(pose.rotation[1, 0], pose.rotation[0, 0])
        self._yaw = min(max(heading, -MOST_TURN_RAD), MOST_TURN_RAD)

    def command(self, action: FloatArray, observation: Observation) -> Command:
        """One control period further.

        Args:
            action: velocity along x, y and z, turn, and -1 for open to 1 for closed fingers. Shape: (5,).
        """
        del observation
        moved = self._place + SPEED_MPS * self._dt_s * np.asarray(action[:3], np.float64)
        self._place = self._boxed(moved)
        turned = self._yaw + TURN_RADPS * self._dt_s * float(action[3])
        self._yaw = min(max(turned, -MOST_TURN_RAD), MOST_TURN_RAD)
        self._joints = step_towards(
            self._arm,
            self._joints,
            self._place,
            pointing_down(self._yaw),
            posture_rad=self._posture,
            most_rad=self._most_rad,
        )
        wanted = 0.5 * (1.0 - float(action[4])) * self._open_rad
        self._fingers += min(max(wanted - self._fingers, -self._finger_rad), self._finger_rad)
        target = np.append(self._joints, self._fingers)
        return Command(mode=CommandMode.POSITION, target=target, kp=self._kp, kd=self._kd)

    def _boxed(self, place: Array) -> Array:
        boxed: Array = np.clip(place, self._arm.box_lower_m, self._arm.box_upper_m)
        return boxed


class HandRetreat:
    """Fingers open, then the hand rises; if it meets the handle of the door there, it backs off, towards the arm.

    Elsewhere it only rises: what lies between its fingers would come along.
    """

    def __init__(self) -> None:
        """Begin."""
        self._back_until_s = 0.0

    def __call__(self, observation: Observation, seconds: float) -> FloatArray | None:
        """What to do now; None: the hand is clear of everything, or has tried for long enough."""
        extra = observation.extra
        pressed = extra[_FORCE_STOP] > 0.5 or float(np.linalg.norm(extra[_FORCE])) > MET_N
        x, y, z = extra[HANDLE] - extra[HAND]
        if seconds >= LET_GO_S and pressed and x < HANDLE_ROOM_M and abs(y) < HANDLE_ROOM_M and z > -HANDLE_ROOM_M:
            self._back_until_s = seconds + BACK_S
        if seconds >= RETREAT_S or (seconds >= LET_GO_S and extra[HAND][2] >= CLEAR_M):
            return None
        back, rise = seconds < self._back_until_s, seconds >= max(LET_GO_S, self._back_until_s)
        return np.array((-float(back), 0.0, float(rise), 0.0, -1.0))


class HandFamily(Family):
    """What can be done with one hand, an object and a door; the command is which of them is to be where."""

    name = "hand"
    rests_from_here = True

    def problem(self, spec: RobotSpec) -> str | None:
        """Needs an arm that measures where its hand, an object and a door are."""
        if spec.arm is None:
            return f"robot {spec.name!r} has no arm"
        if spec.extra_names[: len(ARM_CHANNELS)] != ARM_CHANNELS:
            return f"robot {spec.name!r} does not begin its further channels with {', '.join(ARM_CHANNELS)}"
        return None

    def coming_to_rest(self, spec: RobotSpec) -> HandRetreat:
        """Let go of whatever is in the hand, then lift the hand off it: else it comes along."""
        del spec
        return HandRetreat()

    def action_size(self, spec: RobotSpec) -> int:
        """Three directions, a turn, the fingers."""
        del spec
        return ACTIONS

    def actuator(self, spec: RobotSpec, dt_s: float) -> HandActuator:
        """Inverse kinematics, where the arm is."""
        return HandActuator(spec, dt_s)

    def feature_size(self, spec: RobotSpec) -> int:
        """Width of one feature row."""
        del spec
        return 3 + 3 + 3 + 2 + 3 + 1 + 3 + 3 + 1 + 1 + 1 + 3 + ACTIONS

    def features(
        self, spec: RobotSpec, frames: Frames, phase_rad: FloatArray, last_action: FloatArray
    ) -> NDArray[np.float32]:
        """Hand and object in the box, the way to the object and how it is turned, the way to the handle and how far the
        door is open, once more and finely both ways and the height of the hand, how the hand is turned, fingers, force,
        last action.
        """
        del phase_rad
        assert spec.arm is not None
        extra = frames.extra
        hand, thing, yaw = extra[..., HAND], extra[..., OBJECT], extra[..., HAND_YAW]
        middle = 0.5 * (spec.arm.box_upper_m + spec.arm.box_lower_m)
        half = 0.5 * (spec.arm.box_upper_m - spec.arm.box_lower_m)
        askew = 4.0 * (extra[..., OBJECT_YAW] - yaw)  # a cube looks the same after a quarter of a turn
        return np.concatenate(
            (
                (hand - middle) / half,
                (thing - middle) / half,
                (thing - hand) / NEAR_M,
                np.cos(askew),
                np.sin(askew),
                (extra[..., HANDLE] - hand) / NEAR_M,
                extra[..., DOOR] / NEAR_M,
                np.tanh((thing - hand) / FINE_M),
                np.tanh((extra[..., HANDLE] - hand) / FINE_M),
                np.tanh((hand[..., 2:] - spec.arm.box_lower_m[2]) / FINE_M),
                yaw / MOST_TURN_RAD,
                frames.joint_position[..., -1:] / spec.position_upper_rad[-1],
                extra[..., _FORCE] / spec.hand_force_limit_n,
                last_action,
            ),
            axis=-1,
            dtype=np.float32,
        )


HAND_FAMILY = HandFamily()
