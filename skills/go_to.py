"""Going to a place: twelve skills that share one network, which is told where the place is from the robot.

The places are those of the Minitaur's pen in EARL (Sharma et al. 2022), in the tracker's frame. Every stored step
teaches the way to each of them, whichever the robot was going to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.robot import Array, FloatArray, Frames, Observation, RobotSpec, Transition
from skills.gait import START_TILT_RAD, GaitFamily
from skills.skill import LearnedSkill, SkillKind
from skills.trajectory_generator import action_size
from skills.walk import FALLEN_UP_Z, WalkLimits, walking_costs

PLACES_M = tuple((x, y) for y in (0.2, 0.0, 0.4) for x in (0.4, 0.2, -0.2, -0.4))
"""earl_benchmark/envs/minitaur_gym_env.py: goal_locations."""
THERE_M = 0.1
"""Nearer than this to its place the robot is there (same file: is_successful)."""
CLEARLY_M = 0.01
"""So much farther away it is clearly not there: no attempt begins that the noise of the tracker would end."""
NEAR_M = 0.2
"""Distance at which the network is told half of what it is told of a place far away."""
POSITION_SCALE_M = 1.0


class GoingFamily(GaitFamily):
    """The walking family's actions, with a tracker: the command is the place, (x, y) in m in the tracker's frame."""

    name = "go_to"

    def feature_size(self, spec: RobotSpec) -> int:
        """Width of one feature row."""
        return super().feature_size(spec) + 4

    def features(
        self, spec: RobotSpec, frames: Frames, phase_rad: FloatArray, last_action: FloatArray
    ) -> NDArray[np.float32]:
        """The walking family's, then the robot's x and y, and cosine and sine of its heading."""
        walking = super().features(spec, frames, phase_rad, last_action)
        place, yaw = frames.base_position[..., :2] / POSITION_SCALE_M, frames.base_yaw
        heading = np.stack((np.cos(yaw), np.sin(yaw)), axis=-1)
        return np.concatenate((walking, place, heading), axis=-1, dtype=np.float32)

    def aim(self, rows: FloatArray, commands: FloatArray) -> FloatArray:
        """Forward and left to the place: its direction, times a length that grows with the distance from 0 to 1."""
        off = commands - POSITION_SCALE_M * rows[..., -4:-2]
        c, s = rows[..., -2], rows[..., -1]
        ahead = np.stack((c * off[..., 0] + s * off[..., 1], c * off[..., 1] - s * off[..., 0]), axis=-1)
        aimed: FloatArray = ahead / (np.linalg.norm(ahead, axis=-1, keepdims=True) + NEAR_M)
        return aimed

    def _command_images(
        self, commands: Sequence[tuple[float, ...]], *, left_right: bool, front_back: bool
    ) -> list[tuple[float, ...]]:
        # One of the robot's mirrors turns the world over, too: x to -x, whichever way the robot stands. Both turn the
        # robot about and leave the world.
        across = -1.0 if left_right != front_back else 1.0
        return [(across * x, y) for x, y in commands]

    def _further_parts(
        self, *, left_right: bool, front_back: bool
    ) -> tuple[tuple[NDArray[np.intp], Sequence[float]], ...]:
        across, end = -1.0 if left_right != front_back else 1.0, -1.0 if front_back else 1.0
        return ((np.arange(4), (across, 1.0, across * end, end)),)


GOING = GoingFamily()


@dataclass(frozen=True, kw_only=True)
class GoingReward:
    """Weights of the rewards of going to a place; a good step is worth about 1."""

    reference_mps: float = 0.3
    """Speed towards the place worth a reward of 1."""
    cap: float = 2.5
    """Progress beyond this many references is not rewarded, to keep gaits calm."""
    setback_cap: float = 4.0
    """Its opposite counts up to this many, as in walking: rocking to and fro would earn otherwise."""
    facing_m: float = 0.4
    """What a radian by which neither end of the robot points at the place counts for, as a distance."""
    hurry: float = 0.2
    """What a step costs."""
    roughness: float = 0.2
    """Per mean squared change of the action."""
    there: float = 10.0
    """Once, on arrival."""
    fall: float = 30.0
    """Once, at the step that tips over: more than standing still for ever costs."""
    caught: float = 7.5
    """Once, at the step after which a fall had to be caught, which costs a second besides."""


class GoTo(LearnedSkill):
    """Go to a place, whichever way the robot faces there; what a calm gait keeps to are costs, as in walking."""

    kind = SkillKind.TASK
    family = GOING
    horizon_s = 10.0
    on_request = True

    def __init__(self, name: str, place_m: tuple[float, float]) -> None:
        """Define one place, (x, y) in the tracker's frame."""
        x, y = place_m
        self.name, self.summary = name, f"go to ({x:g}, {y:g}) m"
        self.command = place_m
        self.place_m = np.array(place_m)
        self.weights = GoingReward()
        self.caught_reward = -self.weights.caught
        self.limits = WalkLimits()

    def prior_action(self, spec: RobotSpec) -> Array:
        """Step on the spot."""
        return np.zeros(action_size(spec))

    def start_problem(self, observation: Observation) -> str | None:
        """Upright, where the tracker sees the robot, and clearly not there already."""
        tilt = observation.tilt_rad
        if tilt >= START_TILT_RAD:
            return f"tilted {math.degrees(tilt):.0f} deg"
        if not observation.base_valid:
            return "the tracker does not see the robot"
        return "already there" if self.there(observation, CLEARLY_M) else None

    def over(self, observation: Observation) -> str | None:
        """The robot is there."""
        return "there" if observation.base_valid and self.there(observation) else None

    def there(self, seen: Frames | Observation, more_m: float = 0.0) -> NDArray[np.bool_]:
        """Whether the robot is there, or nearly, within so much more. Shape: (...)."""
        return np.asarray(self.seen(seen)[0] < THERE_M + more_m)

    def reward_terms(self, transition: Transition) -> dict[str, FloatArray]:
        """Progress and facing, both as differences of a potential, hurry, roughness, there, fall."""
        w = self.weights
        (off, turned), (next_off, next_turned) = self.seen(transition.frame), self.seen(transition.next_frame)
        unit = w.reference_mps * transition.dt_s
        change = transition.action - transition.previous_action
        return {
            "progress": np.clip((off - next_off) / unit, -w.setback_cap, w.cap),
            "facing": np.clip(w.facing_m * (turned - next_turned) / unit, -w.setback_cap, w.cap),
            "hurry": np.full_like(off, -w.hurry),
            "roughness": -w.roughness * np.mean(change**2, axis=-1),
            "there": w.there * self.there(transition.next_frame),
            "fall": -w.fall * _fallen(transition),
        }

    def terminated(self, transition: Transition) -> NDArray[np.bool_]:
        """There, or tipped over."""
        return self.there(transition.next_frame) | _fallen(transition)

    def costs(self, transition: Transition, spec: RobotSpec) -> dict[str, FloatArray]:
        """roll, pitch, power and jerk beyond their limits, relative to them."""
        return walking_costs(transition, spec, self.limits)

    def measures(self, transition: Transition) -> dict[str, float]:
        """``off_m``: how far from the place the robot was seen last."""
        return {"off_m": float(self.seen(transition.next_frame)[0][-1])}

    def success(self, transition: Transition) -> bool:
        """Last seen there."""
        return len(transition) > 0 and bool(self.there(transition.next_frame)[-1])

    def seen(self, seen: Frames | Observation) -> tuple[FloatArray, FloatArray]:
        """How far the robot has to go in m, and by how much it has to turn in rad. Each shape: (...)."""
        off = self.place_m - seen.base_position[..., :2]
        return np.asarray(np.linalg.norm(off, axis=-1)), turned_rad(off, seen.base_yaw)


def turned_rad(off_m: FloatArray, yaw: FloatArray | float) -> FloatArray:
    """Angle from the nearer end's direction to that of a place so far off, which fades near it. Shape: (...)."""
    c, s = np.cos(yaw), np.sin(yaw)
    ahead = np.abs(c * off_m[..., 0] + s * off_m[..., 1])
    aside = np.abs(c * off_m[..., 1] - s * off_m[..., 0])
    distance = np.linalg.norm(off_m, axis=-1)
    turned: FloatArray = np.arctan2(aside, ahead) * distance / (distance + NEAR_M)
    return turned


def _fallen(transition: Transition) -> NDArray[np.bool_]:
    """Tipped by more than 50 degrees. Shape: (batch,)."""
    fallen: NDArray[np.bool_] = transition.next_frame.up[..., 2] < FALLEN_UP_Z
    return fallen


GOING_SKILLS = tuple(GoTo(f"go_to_{number:02d}", place_m) for number, place_m in enumerate(PLACES_M, 1))
