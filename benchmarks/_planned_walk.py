"""A walk that is planned on a meta-learned model (GrBAL), learned from what a home has stored.

The model foretells, at the policy's rate, posture, gait phase and the body's speed as the tracker sees it, from these
and what is sent to the actuator. Before each decision it takes one inner step on the last moments, and the planner
looks half a second ahead for what earns most by the skill's own reward. Members of the ensemble are meta-learned apart.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agent.learning import attempt_arrays
from meta.grbal import Grbal, GrbalConfig
from meta.meta_learner import MetaConfig
from meta.planner import Planner, PlannerConfig
from meta.planning_model import PlanningModel
from meta.transitions import AttemptSteps, Float32, Scales, Steps
from persistence.episodes import read_episode
from sim.robot import FloatArray, FrameLayout, Frames, Observation, RobotSpec, body_velocity
from skills.experience import SHORTEST_STEP_S, AttemptArrays, transitions
from skills.walk import FALLEN_UP_Z, Walk

MEMBERS = 3
GRBAL = GrbalConfig(meta=MetaConfig(inner_rate=0.02, learn_rates=True), hidden=(200, 200))
PLANNER = PlannerConfig(horizon=12)
VELOCITY = slice(-3, None)
"""Where in a state speeds are: ahead, to the left, and of turning."""


class WalkModel:
    """Meta-learned models of one robot."""

    def __init__(self, attempts: Sequence[AttemptSteps], meta_steps: int, seed: int) -> None:
        """Learn from these attempts (`attempts_of`)."""
        scales = Scales.of(Steps(attempts))
        self._learners = [Grbal(scales, GRBAL, MEMBERS * seed + member) for member in range(MEMBERS)]
        for learner in self._learners:
            learner.learn(attempts, meta_steps)
        self._usual = self._model([learner.learner.parameters for learner in self._learners])

    def after(self, states: Sequence[Float32], actions: Sequence[Float32]) -> PlanningModel:
        """The models adapted to the last steps; as meta-learned while these are too few."""
        if len(actions) < GRBAL.past:
            return self._usual
        seen, done = np.array(states[-GRBAL.past - 1 :]), np.array(actions[-GRBAL.past :])
        return self._model([learner.adapt(seen[:-1], done, seen[1:]) for learner in self._learners])

    def _model(self, parameters: Sequence[dict[str, Tensor]]) -> PlanningModel:
        return self._learners[0].planning_model(*parameters)


Model = Callable[[Sequence[Float32], Sequence[Float32]], PlanningModel]
"""What the robot is believed to do, by its last states and actions (one fewer)."""


class PlannedWalk:
    """Decides as a policy does (`skills.family.Decide`); one for each attempt."""

    def __init__(self, skill: Walk, spec: RobotSpec, model: Model, seed: int) -> None:
        """Plan for a skill."""
        self._spec, self._layout, self._model = spec, FrameLayout.of(spec), model
        self._smoothing = skill.family.smoothing
        ones = np.ones(skill.family.action_size(spec), np.float32)
        self._planner = Planner(-ones, ones, PLANNER, seed)
        self._cost = cost_of(skill)
        self._frames: deque[Frames] = deque(maxlen=2)
        self._stamps: deque[float] = deque(maxlen=2)
        self._states: deque[Float32] = deque(maxlen=GRBAL.past + 1)
        self._actions: deque[Float32] = deque(maxlen=GRBAL.past)

    def __call__(self, observation: Observation, phase_rad: float, last: NDArray[np.float32]) -> FloatArray:
        """One decision."""
        self._frames.append(Frames(self._layout.pack(observation)[None], self._layout))
        self._stamps.append(observation.stamp_s)
        if len(self._frames) == 2:
            self._actions.append(last)
        velocity = np.zeros((1, 3))
        if len(self._frames) == 2 and self._stamps[1] - self._stamps[0] >= SHORTEST_STEP_S:
            arrays = AttemptArrays(
                family="",
                frames=np.concatenate([frame.data for frame in self._frames]),
                stamps_s=np.array(self._stamps),
                actions=last[None],
                proposed=last[None],
                resting=last,
                phase_rad=np.zeros(2, np.float32),
            )
            velocity = body_velocity(transitions(self._layout, arrays))
        (state,) = _states(self._spec, self._frames[-1], np.array([phase_rad]), velocity)
        self._states.append(state)
        plan = self._planner.plan(self._model(list(self._states), list(self._actions)), self._cost, state)
        # What the low-pass filter will make of it is what was planned.
        return (plan.actions[0] - (1.0 - self._smoothing) * last) / self._smoothing


def attempts_of(spec: RobotSpec, episodes: Path, family: str) -> list[AttemptSteps]:
    """All stored attempts of a family, as models learn from them."""
    found = []
    for number, path in enumerate(sorted(episodes.iterdir())):
        arrays = attempt_arrays(read_episode(path))
        if arrays.family == family and len(arrays.actions) > 1:
            found.append(steps_of(spec, number, arrays))
    return found


def steps_of(spec: RobotSpec, number: int, arrays: AttemptArrays) -> AttemptSteps:
    """One attempt; its first frame, whose speed nobody knows, is left out."""
    layout = FrameLayout.of(spec)
    steps = transitions(layout, arrays)
    frames = Frames(arrays.frames, layout)
    states = _states(spec, Frames(frames.data[1:], layout), arrays.phase_rad[1:], body_velocity(steps))
    seen = frames.base_valid[:-1] & frames.base_valid[1:] & (np.diff(arrays.stamps_s) >= SHORTEST_STEP_S)
    valid = seen & np.isfinite(states).all(axis=1)
    return AttemptSteps(attempt=number, states=states, actions=arrays.actions[1:], valid=valid[:-1] & valid[1:])


def cost_of(skill: Walk) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """What a step of a plan costs: less its reward (`skills.walk`), and as much as a fall for being on the side."""
    forward, turn = skill.command
    w = skill.weights

    def cost(states: Tensor, actions: Tensor, following: Tensor) -> Tensor:
        del states
        ahead, left, turning = following[..., VELOCITY].unbind(-1)
        if turn:
            progress = (turn * turning / w.turn_reference_radps).clamp(-w.setback_cap, w.turn_cap)
            drift = w.drift * torch.hypot(ahead, left).clamp(max=w.drift_cap)
        else:
            progress = (forward * ahead / w.forward_reference_mps).clamp(-w.setback_cap, w.forward_cap)
            drift = w.drift * left.abs().clamp(max=w.drift_cap) + w.yaw_drift * turning.abs().clamp(max=w.drift_cap)
        change = torch.diff(actions, dim=0, prepend=actions[:1]).square().mean(-1)
        fallen = following[..., 2] < FALLEN_UP_Z
        return drift - progress + w.roughness * change + w.fall * fallen

    return cost


def _states(spec: RobotSpec, frames: Frames, phase_rad: FloatArray, velocity: FloatArray) -> Float32:
    """Shape: (T, S)."""
    return np.concatenate(
        (
            frames.up,
            frames.angular_velocity,
            frames.joint_position - spec.stand_position_rad,
            frames.joint_velocity,
            np.sin(phase_rad)[:, None],
            np.cos(phase_rad)[:, None],
            velocity,
        ),
        axis=1,
        dtype=np.float32,
    )
