"""Put what the hand moves anywhere, so that tasks are practised from everywhere and not from each other's ends alone.

Without a person who puts things somewhere else, practice stays where the tasks lead to; skills that disturb on purpose
widen it (R3L: Zhu et al. 2020, "The Ingredients of Real-World Robotic Reinforcement Learning", arXiv 2004.12570).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sim.robot import ARM_CHANNELS, FORCE_STOP, FloatArray, FrameLayout, Frames, Observation, RobotSpec, Transition
from skills.carry import BORDER_M, CARRYING_SKILLS, REACH_M, ZONE_M, handle_is_over, within_reach
from skills.carry_script import LEAST_YAW_RAD, carry_script
from skills.decisions import DecisionController
from skills.family import Script
from skills.hand_control import ACTIONS, CLEAR_M, DOOR, HAND, HAND_FAMILY, HAND_YAW, MOST_TURN_RAD, OBJECT
from skills.hand_script import OPEN, glide
from skills.skill import Progress, ScriptedSkill, SkillKind
from skills.slide import CLOSED_M, OPEN_M, SLIDING_SKILLS
from skills.slide_script import slide_script

NEAR_M = 0.012
"""So near to where it is to be the door is left."""
ARRIVED_M = 0.03
"""So near to where it is to be the hand has arrived."""
INSIDE_M = 0.02
"""The object is put down so far inside of what tasks can start from."""
RISEN_M = 0.01
"""Missing heights below which the hand has risen over everything."""
OPENED = 0.7
"""Openings of fingers, as shares, from which on they hold nothing."""
_FORCE_STOP = ARM_CHANNELS.index(FORCE_STOP)


class Scatter(ScriptedSkill):
    """Bring the object or the door to a place drawn anew in each attempt, then the hand to another one."""

    kind = SkillKind.RESET
    horizon_s = 15.0

    def __init__(self, name: str, summary: str, perturbs: tuple[str, ...], *, door: bool) -> None:
        """For the door, or for the object."""
        self.name, self.summary, self.perturbs, self._door = name, summary, perturbs, door

    def problem(self, spec: RobotSpec) -> str | None:
        """Needs what the hand's tasks need."""
        return HAND_FAMILY.problem(spec)

    def start_problem(self, observation: Observation) -> str | None:
        """Not where the arm has stopped itself, or the object cannot be gripped."""
        if observation.extra[_FORCE_STOP] > 0.5:
            return "the arm has stopped itself"
        if self._door:
            return None
        if not observation.base_valid:
            return "the camera does not see the object"
        x, y, _ = observation.extra[OBJECT]
        if not within_reach(x, y, BORDER_M):
            return "the object is out of reach"
        return "the handle of the door is over the object" if handle_is_over(observation, x, y) else None

    def success(self, transition: Transition) -> bool:
        """Only its controller knows the place, and says when all is there."""
        del transition
        return False

    def controller(self, spec: RobotSpec, dt_s: float) -> ScatterController:
        """A fresh controller, which draws its places when it starts."""
        return ScatterController(spec, dt_s, door=self._door)


class ScatterController(DecisionController):
    """A task's script with another goal, then a glide over everything."""

    def __init__(self, spec: RobotSpec, dt_s: float, *, door: bool) -> None:
        """Prepare for one attempt."""
        assert spec.arm is not None
        decimation = max(1, round(1.0 / (spec.policy_rate_hz * dt_s)))
        actuator = HAND_FAMILY.actuator(spec, dt_s)
        super().__init__(HAND_FAMILY, actuator, self._next, np.zeros(ACTIONS), decimation=decimation)
        self._spec, self._layout, self._door = spec, FrameLayout.of(spec), door
        self._lower, self._upper = spec.arm.box_lower_m, spec.arm.box_upper_m
        self._place: FloatArray = np.zeros(2)
        """Of the object; of the door, how far it is open, twice."""
        self._hand_m: FloatArray = np.zeros(3)
        self._yaw_rad = 0.0
        self._script: Script = lambda frames: np.zeros(ACTIONS)
        self._there = False

    def start(self, observation: Observation) -> None:
        """Draw the places. The noise of the sensors draws them: a run that is repeated draws the same."""
        super().start(observation)
        frame = np.ascontiguousarray(self._layout.pack(observation))
        rng = np.random.default_rng(np.frombuffer(frame.tobytes(), np.uint8))
        high = np.array((*self._lower[:2], CLEAR_M)), self._upper
        self._hand_m, self._yaw_rad = rng.uniform(*high), float(rng.uniform(-MOST_TURN_RAD, MOST_TURN_RAD))
        self._there = False
        if self._door:
            self._place = np.full(2, rng.uniform(CLOSED_M, OPEN_M))
            way = float(self._place[0] - observation.extra[DOOR][0])
            self._script = slide_script(self._spec, float(self._place[0]), math.copysign(1.0, way))
            return
        border = BORDER_M + INSIDE_M
        (x0, x1), (y0, y1) = REACH_M
        while True:
            self._place = rng.uniform((x0 + border, y0 + border), (x1 - border, y1 - border))
            if not handle_is_over(observation, *self._place):
                break
        place, turned_rad = (float(self._place[0]), float(self._place[1])), rng.uniform(LEAST_YAW_RAD, MOST_TURN_RAD)
        self._script = carry_script(self._spec, place, ZONE_M, turned_rad=float(turned_rad))

    def progress(self, observation: Observation) -> Progress:
        """Done once the hand has come to its place, after what it moved."""
        off = float(np.linalg.norm(observation.extra[HAND] - self._hand_m))
        return Progress.SUCCEEDED if self._there and off < ARRIVED_M else Progress.RUNNING

    def _next(self, observation: Observation, phase_rad: float, last: NDArray[np.float32]) -> FloatArray:
        del phase_rad, last
        self._there = self._there or self._is_there(observation)
        if not self._there:
            return self._script(Frames(self._layout.pack(observation), self._layout))
        hand = observation.extra[HAND]
        way = self._hand_m - hand
        if CLEAR_M - hand[2] > RISEN_M:
            way[:2] = 0.0
        turn = np.asarray(self._yaw_rad - observation.extra[HAND_YAW][0])
        return glide(way, turn, np.asarray(OPEN), self._spec.policy_rate_hz)

    def _is_there(self, observation: Observation) -> bool:
        """Whether what is moved is where it is to be, and let go of."""
        if self._door:
            return abs(float(observation.extra[DOOR][0]) - float(self._place[0])) < NEAR_M
        x, y, _ = observation.extra[OBJECT]
        opening = float(observation.joint_position[-1] / self._spec.position_upper_rad[-1])
        return math.hypot(x - self._place[0], y - self._place[1]) < ZONE_M and opening > OPENED


SCATTERING_SKILLS = (
    Scatter("scatter_object", "bring the object anywhere", tuple(it.name for it in CARRYING_SKILLS), door=False),
    Scatter("scatter_door", "slide the door anywhere", tuple(it.name for it in SLIDING_SKILLS), door=True),
)
