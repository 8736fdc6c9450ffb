"""The task that a robot brings with it, as Gymnasium environments do: its own observation, reward and end."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.robot import Array, Command, CommandMode, FloatArray, Frames, Observation, RobotSpec, Transition
from skills.family import Family
from skills.skill import LearnedSkill, SkillKind

TASK_CHANNELS = ("reward", "terminated", "truncated", "success")
"""The last of `RobotSpec.extra_names` on a robot that brings its task; the channels before them are what it shows."""
_REWARD, _TERMINATED, _TRUNCATED, _SUCCESS = range(-len(TASK_CHANNELS), 0)


class DirectActuator:
    """Actions as torques, nothing in between."""

    phase_rad = 0.0

    def __init__(self, spec: RobotSpec) -> None:
        """Scale to the torque limits of a robot."""
        self._limit_nm = spec.torque_limit_nm

    def start(self, observation: Observation) -> None:
        """Nothing moves by itself."""
        del observation

    def command(self, action: FloatArray, observation: Observation) -> Command:
        """The action as a share of the torque limits."""
        del observation
        return Command(mode=CommandMode.TORQUE, target=self._limit_nm * action, kp=0.0, kd=0.0)


class DirectFamily(Family):
    """Torques out, the robot's own channels in: what a task without any knowledge of the robot needs."""

    name = "gym"

    def problem(self, spec: RobotSpec) -> str | None:
        """Needs a robot that brings its own task."""
        if spec.extra_names[-len(TASK_CHANNELS) :] != TASK_CHANNELS:
            return f"robot {spec.name!r} has no channels {', '.join(TASK_CHANNELS)}; use a gym:ID robot"
        return None

    def action_size(self, spec: RobotSpec) -> int:
        """One action for each joint."""
        return spec.n_joints

    def actuator(self, spec: RobotSpec, dt_s: float) -> DirectActuator:
        """Nothing but a scale."""
        del dt_s
        return DirectActuator(spec)

    def feature_size(self, spec: RobotSpec) -> int:
        """The channels before the task's."""
        return len(spec.extra_names) - len(TASK_CHANNELS)

    def features(
        self, spec: RobotSpec, frames: Frames, phase_rad: FloatArray, last_action: FloatArray
    ) -> NDArray[np.float32]:
        """What the robot shows, as it is: its scale is known to nobody, and the learner normalises."""
        del phase_rad, last_action
        return frames.extra[..., : self.feature_size(spec)].astype(np.float32)


class GymTask(LearnedSkill):
    """Earn the reward that the robot itself measures, until it says that the turn is over."""

    name = "gym_task"
    kind = SkillKind.TASK
    summary = "the task of a Gymnasium environment, by its own reward"
    family = DirectFamily()
    command = ()
    horizon_s = 3600.0
    """Beyond every turn: the robot says when one is over."""

    def prior_action(self, spec: RobotSpec) -> Array:
        """The middle of the action space."""
        return np.zeros(self.family.action_size(spec))

    def over(self, observation: Observation) -> str | None:
        """The environment has terminated, or its time is over."""
        if observation.extra[_TERMINATED] > 0.5:
            return "terminated"
        return "truncated" if observation.extra[_TRUNCATED] > 0.5 else None

    def reward_terms(self, transition: Transition) -> dict[str, FloatArray]:
        """What the step gave, measured with what it led to."""
        return {"reward": transition.next_frame.extra[..., _REWARD]}

    def terminated(self, transition: Transition) -> NDArray[np.bool_]:
        """Ended by the task itself; running out of time is no end."""
        return transition.next_frame.extra[..., _TERMINATED] > 0.5

    def measures(self, transition: Transition) -> dict[str, float]:
        """The undiscounted ``return``."""
        return {"return": float(self.reward(transition).sum(dtype=np.float64))}

    def success(self, transition: Transition) -> bool:
        """As the robot says at the end: its own criterion, a return above its threshold, or no early end."""
        return len(transition) > 0 and bool(transition.next_frame.extra[-1, _SUCCESS] > 0.5)
