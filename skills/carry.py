"""A pair of tasks that undo each other: bring the object to the goal zone, and bring it home."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.robot import ARM_CHANNELS, FORCE_STOP, Array, FloatArray, Frames, Observation, RobotSpec, Transition
from skills.hand_control import ACTIONS, HAND, HAND_FAMILY, OBJECT
from skills.skill import LearnedSkill, SkillKind

HOME_M, GOAL_M = (0.48, -0.12), (0.62, 0.12)
"""Middles of the two zones, in the robot's frame."""
ZONE_M = 0.05
"""Radius of a zone: the object is in it if its middle is."""
SCALE_M = 0.2
"""Distance at which most of the reward for being near is gone."""
HAND_SHARE = 0.25
"""Of the reward, for a hand that is near the object."""
FINGERS_OPEN = -0.8
"""Action of fingers that have room for the object."""
LOST_BELOW_M = 0.0
"""Of the height of an object that lies in the tray; below it has fallen off."""


class Carry(LearnedSkill):
    """Bring the object into a zone, by pushing or by lifting it."""

    kind = SkillKind.TASK
    family = HAND_FAMILY
    horizon_s = 15.0

    def __init__(self, name: str, summary: str, zone_m: tuple[float, float]) -> None:
        """A task with its own zone."""
        self.name, self.summary, self._zone = name, summary, np.array(zone_m)
        middle = 0.5 * (np.array(HOME_M) + np.array(GOAL_M))
        self.command = tuple(float(value) for value in (self._zone - middle) / SCALE_M)

    def prior_action(self, spec: RobotSpec) -> Array:
        """A hand that keeps still, its fingers nearly open."""
        del spec
        return np.append(np.zeros(ACTIONS - 1), FINGERS_OPEN)

    def start_problem(self, observation: Observation) -> str | None:
        """Not where the object is unseen, lost, or in the zone already."""
        if not observation.base_valid:
            return "the camera does not see the object"
        return {
            "object_lost": "the object is not in the tray",
            "in_zone": "the object is where it is to be",
        }.get(self.over(observation) or "")

    def over(self, observation: Observation) -> str | None:
        """The object is where it is to be, or has fallen off the tray."""
        if not observation.base_valid:
            return None
        x, y, z = observation.extra[OBJECT]
        if z < LOST_BELOW_M:
            return "object_lost"
        return "in_zone" if float(np.hypot(x - self._zone[0], y - self._zone[1])) < ZONE_M else None

    def reward_terms(self, transition: Transition) -> dict[str, FloatArray]:
        """Nearness of the object to the zone, in [0, 1], and of the hand to the object."""
        thing, hand = _object(transition.next_frame), _hand(transition.next_frame)
        off = np.linalg.norm(thing[..., :2] - self._zone, axis=-1)
        reach = np.linalg.norm(thing - hand, axis=-1)
        return {"placed": 1.0 - np.tanh(off / SCALE_M), "near": HAND_SHARE * (1.0 - np.tanh(reach / SCALE_M))}

    def terminated(self, transition: Transition) -> NDArray[np.bool_]:
        """A lost object earns nothing any more, nor does an arm that has pressed so hard that it stopped."""
        after = transition.next_frame
        lost: NDArray[np.bool_] = _object(after)[..., 2] < LOST_BELOW_M
        pressed: NDArray[np.bool_] = after.extra[..., _FORCE_STOP] > 0.5
        return (lost & after.base_valid) | pressed

    def measures(self, transition: Transition) -> dict[str, float]:
        """``off_m``: how far the object was from the middle of the zone in the end."""
        return {"off_m": float(np.hypot(*(_object(transition.next_frame)[-1, :2] - self._zone)))}

    def success(self, transition: Transition) -> bool:
        """The object was last seen in the zone."""
        return len(transition) > 0 and self.measures(transition)["off_m"] < ZONE_M


_FORCE_STOP = ARM_CHANNELS.index(FORCE_STOP)


def _object(frames: Frames) -> FloatArray:
    return frames.extra[..., OBJECT]


def _hand(frames: Frames) -> FloatArray:
    return frames.extra[..., HAND]


CARRYING_SKILLS = (
    Carry("carry_out", "bring the object to the goal zone", GOAL_M),
    Carry("carry_home", "bring the object back home", HOME_M),
)
