"""Roll over, stand up and walk on, from lying anyhow and without a reset: the task of DayDreamer's quadruped.

Wu et al. (2022), "DayDreamer: World Models for Physical Robot Learning", CoRL, arXiv 2206.14176. The reward is that of
its published code, ``motion_imitation/envs/env_wrappers/rma_task.py``, class ``RMATask``, with the constants of
``motion_imitation/robots/a1.py``; all of it is written anew here. With u the world's up along the body's z axis, d the
deviations of the joint angles from standing, v the velocity of the base and h the body's x axis laid onto the floor::

    upright  = u / 2 + 1/2
    hip      = [upright > 0.7] (1 - mean d of abductions)
    shoulder = [hip > 0.7] (1 - mean d of hips)
    knee     = [shoulder > 0.7] (1 - mean d of knees)
    velocity = [knee > 0.7] max(0, v.h) / |v| clip(v.h / 0.3, -1, 1)
    points   = upright + hip + shoulder + knee + 10 (velocity + 1) / 2

Lying on the back gives 5 points, standing 9, walking ahead at 0.3 m/s or more 14, which is the most. A joint angle is
scaled so that -1 and 1 are the ends of the range that the published robot uses; d is the distance from standing in
that scale over the largest possible one, within [0, 1].

Theirs differs in what it measures: joint angles without noise, and a velocity estimated from accelerometer and feet,
smoothed. Here angles and tilt are the robot's readings, and the velocity, in all three axes, is the tracker's mean over
the step, which walking as such would not need; where the tracker is blind the velocity counts as zero.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.robot import Array, FloatArray, Frames, RobotSpec, Transition, body_velocity
from skills.pose_control import BODY
from skills.skill import LearnedSkill, SkillKind

ROBOT = "a1"
FORWARD_REFERENCE_MPS = 0.3
GATE = 0.7
"""What each part needs to exceed for the next one to count."""
LEAST_POINTS = 5.0
"""What a step gives at least, whatever the robot does: half of the ten points of the velocity."""
VELOCITY_POINTS = 5.0
"""What walking adds at most."""
SCALE = 0.2
"""Reward per point."""
SUCCESS_POINTS = 11.0

_LOWER_RAD = np.array((-0.802851455917, -1.0471975512, -2.69653369433))
_UPPER_RAD = np.array((0.802851455917, 4.18879020479, -0.916297857297))
_USED_FROM, _USED_TO = np.array((0.01, 0.01, 0.01)), np.array((0.99, 0.90, 0.60))
"""Shares of the joints' ranges that the published robot uses."""
_STANDING = np.array((0.0, -0.2, 1.0))
"""In the scaled range. All of abduction, hip, knee."""


class RiseAndWalk(LearnedSkill):
    """Get up and walk ahead for as long as the run lasts; attempts are nothing but pages of its books."""

    name = "rise_and_walk"
    kind = SkillKind.TASK
    summary = "roll over, stand up and walk ahead, with no reset"
    family = BODY
    command = ()
    horizon_s = 12.5
    """250 steps at 20 Hz, as published; the next attempt begins where this one ends."""
    on_request = True
    lies_down = True

    def problem(self, spec: RobotSpec) -> str | None:
        """The reward's numbers are those of one robot."""
        if spec.name != ROBOT:
            return f"its reward is written for the joints of {ROBOT!r}, not of {spec.name!r}"
        return super().problem(spec)

    def prior_action(self, spec: RobotSpec) -> Array:
        """The stance."""
        return np.zeros(self.family.action_size(spec))

    def points(self, transition: Transition) -> dict[str, FloatArray]:
        """The parts of the published reward above `LEAST_POINTS`, judged after each step. Each shape: (batch,)."""
        after = transition.next_frame
        deviation = _deviation(after.joint_position)
        upright = 0.5 + 0.5 * after.up[..., 2]
        hip = (upright > GATE) * (1.0 - deviation[..., 0])
        shoulder = (hip > GATE) * (1.0 - deviation[..., 1])
        knee = (shoulder > GATE) * (1.0 - deviation[..., 2])
        velocity = VELOCITY_POINTS * (knee > GATE) * _progress(transition)
        return {"upright": upright, "hip": hip, "shoulder": shoulder, "knee": knee, "velocity": velocity}

    def reward_terms(self, transition: Transition) -> dict[str, FloatArray]:
        """The points above the least ones, scaled: what never ends has the same best policy for either."""
        return {name: SCALE * points for name, points in self.points(transition).items()}

    def terminated(self, transition: Transition) -> NDArray[np.bool_]:
        """Never: who falls gets up again."""
        return np.zeros(len(transition), dtype=np.bool_)

    def measures(self, transition: Transition) -> dict[str, float]:
        """Means over the attempt: ``points`` of the published reward per step, ``speed_mps``, ``up_z``."""
        if not len(transition):
            return {}
        points: FloatArray = np.sum(list(self.points(transition).values()), axis=0)
        return {
            "points": LEAST_POINTS + float(points.mean()),
            "speed_mps": float(body_velocity(transition)[..., 0].mean()),
            "up_z": float(transition.next_frame.up[..., 2].mean()),
        }

    def success(self, transition: Transition) -> bool:
        """More points per step than the published method had after an hour."""
        return self.measures(transition).get("points", 0.0) >= SUCCESS_POINTS


def _deviation(joint_rad: FloatArray) -> FloatArray:
    """Mean deviation of abductions, hips and knees from standing, in [0, 1]. Shape: (batch, 12) to (batch, 3)."""
    span = _UPPER_RAD - _LOWER_RAD
    first, last = _LOWER_RAD + _USED_FROM * span, _LOWER_RAD + _USED_TO * span
    angles = joint_rad.reshape(*joint_rad.shape[:-1], joint_rad.shape[-1] // 3, 3)
    scaled = np.clip(2.0 * (angles - first) / (last - first) - 1.0, -1.0, 1.0)
    deviation: FloatArray = np.abs(scaled - _STANDING) / (1.0 + np.abs(_STANDING))
    return np.asarray(deviation.mean(axis=-2))


def _progress(transition: Transition) -> FloatArray:
    """Share of the motion that leads ahead, times its speed over the reference, in [0, 1]. Shape: (batch,)."""
    before, after = transition.frame, transition.next_frame
    planar = body_velocity(transition)[..., :2]
    rise = (after.base_position[..., 2] - before.base_position[..., 2]) / transition.dt_s
    rise = np.where(before.base_valid & after.base_valid, rise, 0.0)
    # The published heading is the body's x axis without its vertical part, and shorter by that.
    ahead = planar[..., 0] * _level(after)
    total = np.sqrt(np.sum(planar**2, axis=-1) + rise**2)
    share = np.divide(np.maximum(ahead, 0.0), total, out=np.zeros_like(total), where=total > 0.0)
    progress: FloatArray = share * np.clip(ahead / FORWARD_REFERENCE_MPS, -1.0, 1.0)
    return progress


def _level(frames: Frames) -> FloatArray:
    """Length of the body's x axis seen from above: 1 level, 0 standing on its head. Shape: (batch,)."""
    length: FloatArray = np.sqrt(np.maximum(0.0, 1.0 - frames.up[..., 0] ** 2))
    return length
