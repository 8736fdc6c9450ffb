"""A pair of tasks that undo each other: open a sliding door, and close it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.robot import ARM_CHANNELS, FORCE_STOP, Array, FloatArray, Frames, Observation, RobotSpec, Transition
from skills.family import Script
from skills.hand_control import ACTIONS, DONE, DOOR, HAND, HAND_FAMILY, HANDLE, command_for
from skills.skill import LearnedSkill, SkillKind
from skills.slide_script import slide_script

CLOSED_M, OPEN_M = 0.0, 0.16
"""How far the door is open at its ends."""
END_M = 0.03
"""The door is at its end if it is no further from it."""
CLEARLY_M = 0.01
"""So far off is clearly off: no attempt begins that the noise of the encoder would end."""
SCALE_M = 0.1
"""Distance at which most of the reward for a door near its end is gone."""
HAND_SCALE_M, HAND_SHARE = 0.2, 0.25
"""The same for a hand that is near the handle, and its share of the reward."""
BESIDE_M = 0.04
"""From the middle of the handle to that of a hand which pushes it."""
FINGERS_CLOSED = 0.8
"""Action of fingers that have nothing to grip."""
_FORCE_STOP = ARM_CHANNELS.index(FORCE_STOP)


class Slide(LearnedSkill):
    """Push the door to one of its ends. An encoder tells where it is, whatever the camera sees."""

    kind = SkillKind.TASK
    family = HAND_FAMILY
    horizon_s = 12.0

    def __init__(self, name: str, summary: str, end_m: float, undone_by: str) -> None:
        """A task with its own end."""
        self.name, self.summary, self._end_m, self.undone_by = name, summary, end_m, undone_by
        way = end_m - 0.5 * (CLOSED_M + OPEN_M)
        self._direction = float(np.sign(way))
        self.command = command_for("door", (0.0, way))

    def prior_action(self, spec: RobotSpec) -> Array:
        """A hand that keeps still, its fingers nearly closed."""
        del spec
        return np.append(np.zeros(ACTIONS - 1), FINGERS_CLOSED)

    def script(self, spec: RobotSpec) -> Script:
        """Goes beside the handle and pushes it."""
        return slide_script(spec, self._end_m, self._direction)

    def start_problem(self, observation: Observation) -> str | None:
        """Not where the arm has stopped itself, or the door is where it is to be; the object does not matter."""
        if observation.extra[_FORCE_STOP] > 0.5:
            return "the arm has stopped itself"
        there = self._off_m(observation.extra[DOOR]).item() < END_M + CLEARLY_M
        return "the door is where it is to be" if there else None

    def over(self, observation: Observation) -> str | None:
        """The door is where it is to be."""
        return "at_end" if self._off_m(observation.extra[DOOR]).item() < END_M else None

    def reward_terms(self, transition: Transition) -> dict[str, FloatArray]:
        """Nearness of the door to its end, in [0, 1], and of the hand to where it pushes; once, that it is there."""
        after = transition.next_frame
        off = self._door_off_m(after)
        beside = after.extra[..., HANDLE] - np.array((0.0, self._direction * BESIDE_M, 0.0))
        reach = np.linalg.norm(beside - after.extra[..., HAND], axis=-1)
        return {
            "placed": 1.0 - np.tanh(off / SCALE_M),
            "near": HAND_SHARE * (1.0 - np.tanh(reach / HAND_SCALE_M)),
            "done": DONE * (off < END_M),
        }

    def trusted(self, transition: Transition) -> NDArray[np.bool_]:
        """All steps: nothing here comes from the camera."""
        return np.ones(len(transition), np.bool_)

    def terminated(self, transition: Transition) -> NDArray[np.bool_]:
        """It is done; or the arm has pressed so hard that it stopped, and earns nothing more."""
        after = transition.next_frame
        pressed: NDArray[np.bool_] = after.extra[..., _FORCE_STOP] > 0.5
        return pressed | (self._door_off_m(after) < END_M)

    def measures(self, transition: Transition) -> dict[str, float]:
        """``off_m``: how far the door was from its end at last."""
        return {"off_m": float(self._door_off_m(transition.next_frame)[-1])}

    def success(self, transition: Transition) -> bool:
        """The door was at its end at last."""
        return len(transition) > 0 and bool(self._door_off_m(transition.next_frame)[-1] < END_M)

    def _door_off_m(self, frames: Frames) -> FloatArray:
        return self._off_m(frames.extra[..., DOOR])[..., 0]

    def _off_m(self, door_m: FloatArray) -> FloatArray:
        off: FloatArray = np.abs(door_m - self._end_m)
        return off


SLIDING_SKILLS = (
    Slide("slide_open", "open the sliding door", OPEN_M, undone_by="slide_close"),
    Slide("slide_close", "close the sliding door", CLOSED_M, undone_by="slide_open"),
)
