"""A pair of tasks that undo each other, bring the object to the goal zone and bring it home, and a reset: centre it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sim.robot import ARM_CHANNELS, FORCE_STOP, Array, FloatArray, Frames, Observation, RobotSpec, Transition
from skills.carry_script import carry_script
from skills.family import Script
from skills.hand_control import ACTIONS, DONE, HAND, HAND_FAMILY, HANDLE, OBJECT, command_for
from skills.skill import LearnedSkill, SkillKind

HOME_M, GOAL_M = (0.48, -0.12), (0.62, 0.12)
"""Middles of the two zones, in the robot's frame."""
MIDDLE_M = (0.54, 0.0)
"""Middle of the hand's box."""
REACH_M = ((0.4, 0.7), (-0.22, 0.22))
"""x and y between which fingers can close on the object. What is beyond stays there until a person comes."""
BORDER_M = 0.025
"""So near to the end of its reach no task begins: a push is enough, and the object is lost."""
NEARLY_M = 0.005
"""So near no task goes on."""
FAST_M = 0.01
"""Further than this from one decision to the next, towards the end of the reach, the object slides, or is pushed..."""
AHEAD = 1.5
"""... and goes on so for this many decisions."""
HANDLE_ROOM_M = (0.085, 0.065)
"""Nearer than this to the handle of the door, along x and y, no hand comes down to the object: it would meet that."""
ZONE_M = 0.05
"""Radius of a zone: the object is in it if its middle is."""
CLEARLY_M = 0.015
"""So far outside of the zone is clearly outside: no attempt begins that the noise of the camera would end."""
SCALE_M = 0.2
"""Distance at which most of the reward for being near is gone."""
HAND_SHARE = 0.25
"""Of the reward, for a hand that is near the object."""
FINGERS_OPEN = -0.8
"""Action of fingers that have room for the object."""
LYING_BELOW_M = 0.055
"""Height of an object's middle from which on it is in the hand: lying on the tray, it is at 0.045 m."""
LOST_BELOW_M = 0.0
"""Height of an object's middle below which it has fallen off the tray."""
_FORCE_STOP = ARM_CHANNELS.index(FORCE_STOP)


class Carry(LearnedSkill):
    """Bring the object into a zone, by pushing or by lifting it."""

    family = HAND_FAMILY
    horizon_s = 15.0

    def __init__(
        self,
        name: str,
        summary: str,
        zone_m: tuple[float, float],
        *,
        kind: SkillKind = SkillKind.TASK,
        undone_by: str | None = None,
    ) -> None:
        """A task, or a reset, with its own zone."""
        self.name, self.summary, self._zone = name, summary, np.array(zone_m)
        self.kind, self.undone_by = kind, undone_by
        middle = 0.5 * (np.array(HOME_M) + np.array(GOAL_M))
        x, y = self._zone - middle
        self.command = command_for("object", (float(x), float(y)))

    def prior_action(self, spec: RobotSpec) -> Array:
        """A hand that keeps still, its fingers nearly open."""
        del spec
        return np.append(np.zeros(ACTIONS - 1), FINGERS_OPEN)

    def script(self, spec: RobotSpec) -> Script:
        """Grips the object and puts it into the zone."""
        x, y = self._zone
        return carry_script(spec, (float(x), float(y)), ZONE_M)

    def start_problem(self, observation: Observation) -> str | None:
        """Not where the arm has stopped itself, or the object is unseen, out of reach, covered, or in the zone."""
        if observation.extra[_FORCE_STOP] > 0.5:
            return "the arm has stopped itself"
        if not observation.base_valid:
            return "the camera does not see the object"
        x, y, z = observation.extra[OBJECT]
        border = 0.0 if self.kind is SkillKind.RESET else BORDER_M
        if z < LOST_BELOW_M or not within_reach(x, y, border):
            return f"the object is out of reach, at ({x:.2f}, {y:.2f}, {z:.2f}) m"
        if handle_is_over(observation, x, y):
            return "the handle of the door is over the object"
        there = self._off_m(x, y) < ZONE_M + CLEARLY_M
        return "the object is where it is to be" if there and z < LYING_BELOW_M else None

    def lost(self, observation: Observation) -> bool:
        """The object lies out of reach of the hand."""
        return observation.base_valid and bool(_gone(observation.extra[OBJECT]))

    def nearly_lost(self, before: Observation, now: Observation) -> bool:
        """The object lies at the very end of the hand's reach, or moves on so fast that it will soon be beyond it."""
        if not now.base_valid:
            return False
        room = _room_m(now.extra[OBJECT])
        moved = _room_m(before.extra[OBJECT]) - room if before.base_valid else np.zeros_like(room)
        return bool(np.any((room < NEARLY_M) | ((moved > FAST_M) & (room < AHEAD * moved))))

    def over(self, observation: Observation) -> str | None:
        """The object is where it is to be, or has fallen off the tray."""
        if not observation.base_valid:
            return None
        x, y, z = observation.extra[OBJECT]
        if z < LOST_BELOW_M:
            return "object_lost"
        return "in_zone" if z < LYING_BELOW_M and self._off_m(x, y) < ZONE_M else None

    def reward_terms(self, transition: Transition) -> dict[str, FloatArray]:
        """Nearness of the object to the zone, in [0, 1], and of the hand to the object; once, that it lies there."""
        thing, hand = _object(transition.next_frame), _hand(transition.next_frame)
        off = np.linalg.norm(thing[..., :2] - self._zone, axis=-1)
        reach = np.linalg.norm(thing - hand, axis=-1)
        return {
            "placed": 1.0 - np.tanh(off / SCALE_M),
            "near": HAND_SHARE * (1.0 - np.tanh(reach / SCALE_M)),
            "done": DONE * self._lies_there(transition.next_frame),
        }

    def terminated(self, transition: Transition) -> NDArray[np.bool_]:
        """It is done; or the object is lost, or the arm has pressed so hard that it stopped: both earn nothing more."""
        after = transition.next_frame
        lost: NDArray[np.bool_] = _object(after)[..., 2] < LOST_BELOW_M
        pressed: NDArray[np.bool_] = after.extra[..., _FORCE_STOP] > 0.5
        return self._lies_there(after) | (lost & after.base_valid) | pressed

    def irreversible(self, transition: Transition) -> NDArray[np.bool_]:
        """The object has left the reach of the hand."""
        after = transition.next_frame
        lost: NDArray[np.bool_] = _gone(_object(after)) & after.base_valid
        return lost

    def measures(self, transition: Transition) -> dict[str, float]:
        """``off_m``: how far the object was from the middle of the zone in the end."""
        x, y, _ = _object(transition.next_frame)[-1]
        return {"off_m": self._off_m(x, y)}

    def success(self, transition: Transition) -> bool:
        """The object was last seen lying in the zone."""
        if not len(transition):
            return False
        x, y, z = _object(transition.next_frame)[-1]
        return bool(z < LYING_BELOW_M) and self._off_m(x, y) < ZONE_M

    def _lies_there(self, frames: Frames) -> NDArray[np.bool_]:
        """Whether the object is seen lying in the zone. Shape: (...)."""
        thing = _object(frames)
        near: NDArray[np.bool_] = np.linalg.norm(thing[..., :2] - self._zone, axis=-1) < ZONE_M
        return near & (thing[..., 2] < LYING_BELOW_M) & (thing[..., 2] > LOST_BELOW_M) & frames.base_valid

    def _off_m(self, x_m: float, y_m: float) -> float:
        """How far a place is from the middle of the zone."""
        return math.hypot(x_m - self._zone[0], y_m - self._zone[1])


def _object(frames: Frames) -> FloatArray:
    return frames.extra[..., OBJECT]


def _hand(frames: Frames) -> FloatArray:
    return frames.extra[..., HAND]


def _room_m(thing: FloatArray) -> FloatArray:
    """How far an object is from each end of the reach, negative where it is beyond. Shape: (3,) to (4,)."""
    low, high = np.transpose(REACH_M)
    return np.concatenate((thing[:2] - low, high - thing[:2]))


def _gone(thing: FloatArray) -> NDArray[np.bool_]:
    """Whether objects have fallen off, or lie out of reach. Shape: (..., 3) to (...)."""
    return (thing[..., 2] < LOST_BELOW_M) | ~within_reach(thing[..., 0], thing[..., 1])


def handle_is_over(observation: Observation, x_m: float, y_m: float) -> bool:
    """Whether a hand that comes down at a place would meet the handle of the door."""
    handle_x, handle_y, _ = observation.extra[HANDLE]
    return bool(x_m > handle_x - HANDLE_ROOM_M[0] and abs(y_m - handle_y) < HANDLE_ROOM_M[1])


def within_reach(x_m: FloatArray, y_m: FloatArray, border_m: float = 0.0) -> NDArray[np.bool_]:
    """Whether places are so far inside of the hand's reach. Shape: (...)."""
    (x0, x1), (y0, y1) = REACH_M
    return (x_m >= x0 + border_m) & (x_m <= x1 - border_m) & (y_m >= y0 + border_m) & (y_m <= y1 - border_m)


CARRYING_SKILLS = (
    Carry("carry_out", "bring the object to the goal zone", GOAL_M, undone_by="carry_home"),
    Carry("carry_home", "bring the object back home", HOME_M, undone_by="carry_out"),
)
CENTRE_OBJECT = Carry(
    "centre_object",
    "bring the object from the border of the hand's reach to its middle",
    MIDDLE_M,
    kind=SkillKind.RESET,
)
