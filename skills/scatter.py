"""Put what the hand moves anywhere, so that tasks are practised from everywhere and not from each other's ends alone.

Without a person who puts things somewhere else, practice stays where the tasks lead to; skills that disturb on purpose
widen it (R3L: Zhu et al. 2020, "The Ingredients of Real-World Robotic Reinforcement Learning", arXiv 2004.12570).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

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

DOOR_NEAR_M = 0.012
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


@dataclass(frozen=True)
class Goal:
    """Somewhere for the object or the door."""

    script: Script
    """Brings it there."""
    reached: Callable[[Observation], bool]
    """Whether it is there, and let go of."""


Draw = Callable[[RobotSpec, Observation, np.random.Generator], Goal]


def somewhere_for_object(spec: RobotSpec, observation: Observation, rng: np.random.Generator) -> Goal:
    """A place where tasks can start, and a turn."""
    border = BORDER_M + INSIDE_M
    (x0, x1), (y0, y1) = REACH_M
    while True:
        x, y = (float(along) for along in rng.uniform((x0 + border, y0 + border), (x1 - border, y1 - border)))
        if not handle_is_over(observation, x, y):
            break
    open_rad = float(spec.position_upper_rad[-1])

    def reached(observation: Observation) -> bool:
        thing = observation.extra[OBJECT]
        let_go = float(observation.joint_position[-1]) > OPENED * open_rad
        return let_go and math.hypot(thing[0] - x, thing[1] - y) < ZONE_M

    turned_rad = float(rng.uniform(LEAST_YAW_RAD, MOST_TURN_RAD))
    return Goal(carry_script(spec, (x, y), ZONE_M, turned_rad=turned_rad), reached)


def somewhere_for_door(spec: RobotSpec, observation: Observation, rng: np.random.Generator) -> Goal:
    """A place between its ends."""
    open_m = float(rng.uniform(CLOSED_M, OPEN_M))
    direction = math.copysign(1.0, open_m - float(observation.extra[DOOR][0]))
    return Goal(
        slide_script(spec, open_m, direction),
        lambda observation: abs(float(observation.extra[DOOR][0]) - open_m) < DOOR_NEAR_M,
    )


class Scatter(ScriptedSkill):
    """Bring the object or the door to a place drawn anew in each attempt, then the hand to another one."""

    kind = SkillKind.RESET
    horizon_s = 15.0

    def __init__(self, name: str, summary: str, perturbs: tuple[str, ...], draw: Draw) -> None:
        """With what draws the place."""
        self.name, self.summary, self.perturbs, self._draw = name, summary, perturbs, draw

    def problem(self, spec: RobotSpec) -> str | None:
        """Needs what the hand's tasks need."""
        return HAND_FAMILY.problem(spec)

    def start_problem(self, observation: Observation) -> str | None:
        """Not where the arm has stopped itself."""
        return "the arm has stopped itself" if observation.extra[_FORCE_STOP] > 0.5 else None

    def success(self, transition: Transition) -> bool:
        """Only its controller knows the place, and says when all is there."""
        del transition
        return False

    def controller(self, spec: RobotSpec, dt_s: float) -> ScatterController:
        """A fresh controller, which draws its places when it starts."""
        return ScatterController(spec, dt_s, self._draw)


class ScatterObject(Scatter):
    """What has to be gripped first."""

    def start_problem(self, observation: Observation) -> str | None:
        """Nor where the object is unseen, out of reach, or covered."""
        if problem := super().start_problem(observation):
            return problem
        if not observation.base_valid:
            return "the camera does not see the object"
        x, y, _ = observation.extra[OBJECT]
        if not within_reach(x, y, BORDER_M):
            return "the object is out of reach"
        return "the handle of the door is over the object" if handle_is_over(observation, x, y) else None


class ScatterController(DecisionController):
    """A task's script with another goal, then a glide over everything."""

    def __init__(self, spec: RobotSpec, dt_s: float, draw: Draw) -> None:
        """Prepare for one attempt."""
        assert spec.arm is not None
        decimation = max(1, round(1.0 / (spec.policy_rate_hz * dt_s)))
        actuator = HAND_FAMILY.actuator(spec, dt_s)
        super().__init__(HAND_FAMILY, actuator, self._next, np.zeros(ACTIONS), decimation=decimation)
        self._spec, self._layout, self._draw = spec, FrameLayout.of(spec), draw
        lower, upper = spec.arm.box_lower_m, spec.arm.box_upper_m
        self._over_all = np.array((*lower[:2], CLEAR_M)), upper
        self._goal: Goal | None = None
        """None once it is reached."""
        self._hand_m: FloatArray = np.zeros(3)
        self._yaw_rad = 0.0

    def start(self, observation: Observation) -> None:
        """Draw the places. The noise of the sensors draws them: a run that is repeated draws the same."""
        super().start(observation)
        frame = np.ascontiguousarray(self._layout.pack(observation))
        rng = np.random.default_rng(np.frombuffer(frame.tobytes(), np.uint8))
        self._hand_m = rng.uniform(*self._over_all)
        self._yaw_rad = float(rng.uniform(-MOST_TURN_RAD, MOST_TURN_RAD))
        self._goal = self._draw(self._spec, observation, rng)

    def progress(self, observation: Observation) -> Progress:
        """Done once the hand has come to its place, after what it moved."""
        off = float(np.linalg.norm(observation.extra[HAND] - self._hand_m))
        return Progress.SUCCEEDED if self._goal is None and off < ARRIVED_M else Progress.RUNNING

    def _next(self, observation: Observation, phase_rad: float, last: NDArray[np.float32]) -> FloatArray:
        del phase_rad, last
        if self._goal is not None and self._goal.reached(observation):
            self._goal = None
        if self._goal is not None:
            return self._goal.script(Frames(self._layout.pack(observation), self._layout))
        hand = observation.extra[HAND]
        way = self._hand_m - hand
        if CLEAR_M - hand[2] > RISEN_M:
            way[:2] = 0.0
        turn = np.asarray(self._yaw_rad - observation.extra[HAND_YAW][0])
        return glide(way, turn, np.asarray(OPEN), self._spec.policy_rate_hz)


SCATTERING_SKILLS = (
    ScatterObject(
        "scatter_object", "bring the object anywhere", tuple(it.name for it in CARRYING_SKILLS), somewhere_for_object
    ),
    Scatter("scatter_door", "slide the door anywhere", tuple(it.name for it in SLIDING_SKILLS), somewhere_for_door),
)
