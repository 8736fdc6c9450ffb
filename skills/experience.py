"""From what an attempt stored to what a learner needs: features, and every skill's reward of every step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.robot import FloatArray, FrameLayout, Frames, RobotSpec, Transition
from skills.learned_reward import Reward
from skills.shaping import shaped
from skills.skill import LearnedSkill

SHORTEST_STEP_S = 0.005
"""Two frames closer than this are the same reading twice: nothing can be learned from a speed between them."""


@dataclass(frozen=True, kw_only=True)
class AttemptArrays:
    """The arrays of one stored attempt of T policy steps."""

    family: str
    """Name of the family whose actions they are."""
    frames: NDArray[np.float32]
    """Shape: (T + 1, frame width)."""
    stamps_s: NDArray[np.float64]
    """Shape: (T + 1,)."""
    actions: NDArray[np.float32]
    """Sent actions, shape: (T, n_actions)."""
    proposed: NDArray[np.float32]
    """What the policy asked for, before the low-pass filter. Shape: (T, n_actions)."""
    resting: NDArray[np.float32]
    """The action before the first step, shape: (n_actions,)."""
    phase_rad: NDArray[np.float32]
    """Generator phase at each frame, shape: (T + 1,)."""
    caught: tuple[int, ...] = ()
    """Steps in which a fall was caught, longer than others. The policy pays for coming to them, and goes on after."""

    @property
    def last_actions(self) -> NDArray[np.float32]:
        """The action sent before each frame. Shape: (T + 1, n_actions)."""
        return np.concatenate((self.resting[None], self.actions))


@dataclass(frozen=True, kw_only=True)
class Experience:
    """One attempt as a learner of K skills sees it."""

    features: NDArray[np.float32]
    """Shape: (T + 1, feature size)."""
    actions: NDArray[np.float32]
    """Shape: (T, n_actions)."""
    rewards: NDArray[np.float32]
    """Shape: (T, K)."""
    shaping: NDArray[np.float32]
    """What a learner adds to them, which changes no optimum. Shape: (T, K)."""
    terminated: NDArray[np.bool_]
    """Shape: (T, K)."""
    valid: NDArray[np.bool_]
    """Steps whose rewards every skill trusts, between two readings. Shape: (T,)."""
    costs: NDArray[np.float32]
    """The family's safety costs, in the order of `cost_names`. Shape: (T, C)."""
    advice: NDArray[np.float32]
    """What each skill's script would have done, NaN for skills without one. Shape: (T, K, n_actions)."""

    def __len__(self) -> int:
        return len(self.actions)


def transitions(layout: FrameLayout, arrays: AttemptArrays) -> Transition:
    """The steps of one attempt, in order, as a batch."""
    frames = Frames(arrays.frames, layout)
    return Transition(
        frame=Frames(frames.data[:-1], layout),
        action=arrays.actions,
        previous_action=arrays.last_actions[:-1],
        next_frame=Frames(frames.data[1:], layout),
        dt_s=np.maximum(np.diff(arrays.stamps_s), SHORTEST_STEP_S),
    )


def cost_names(spec: RobotSpec, skill: LearnedSkill) -> tuple[str, ...]:
    """Names of the costs of a skill's family, in order."""
    layout = FrameLayout.of(spec)
    nothing = Frames(np.zeros((0, layout.width), np.float32), layout)
    actions = np.zeros((0, skill.family.action_size(spec)), np.float32)
    return tuple(skill.costs(Transition(nothing, actions, actions, nothing, np.zeros(0)), spec))


def experience(
    spec: RobotSpec,
    skills: Sequence[LearnedSkill],
    arrays: AttemptArrays,
    past_actions: bool = True,
    rewards: Mapping[str, Reward] | None = None,
    discount: float | None = None,
) -> Experience:
    """Features, rewards and costs of one attempt for every skill of a family.

    The attempt is cut after the step at which every skill calls it terminated: what comes after a fall is not walking.

    Args:
        spec: of the robot.
        skills: of one family.
        arrays: the attempt.
        past_actions: whether the policy sees what was sent before.
        rewards: what skills earn in the place of their own terms, by name.
        discount: of the learner; None: it has none, and nothing is shaped.
    """
    layout = FrameLayout.of(spec)
    steps = transitions(layout, arrays)
    terminated = np.stack([skill.terminated(steps) for skill in skills], axis=1)
    over = np.flatnonzero(terminated.all(axis=1))
    length = int(over[0]) + 1 if len(over) else len(steps)
    instead = rewards or {}
    earned = np.stack([_earned(skill, steps, instead.get(skill.name), discount) for skill in skills], axis=1)
    last = arrays.last_actions if past_actions else np.zeros_like(arrays.last_actions)
    rows = skills[0].family.features(spec, Frames(arrays.frames, layout), arrays.phase_rad, last)
    costs = [cost[:length] for cost in skills[0].costs(steps, spec).values()]
    fresh = np.diff(arrays.stamps_s) >= SHORTEST_STEP_S
    valid = np.logical_and.reduce([skill.trusted(steps) for skill in skills]) & fresh
    advice = np.full((length, len(skills), arrays.actions.shape[1]), np.nan, np.float32)
    for index, script in enumerate(skill.script(spec) for skill in skills):
        if script is not None:
            advice[:, index] = script(Frames(arrays.frames[:length], layout))
    led_to_catch = [step - 1 for step in arrays.caught if 0 < step < len(steps)]
    earned[led_to_catch] += [skill.caught_reward for skill in skills]
    return Experience(
        features=rows[: length + 1],
        actions=arrays.actions[:length],
        rewards=earned[:length].astype(np.float32),
        shaping=np.stack([_shaping(skill, steps, discount) for skill in skills], axis=1)[:length].astype(np.float32),
        terminated=terminated[:length],
        valid=valid[:length],
        costs=np.stack(costs, axis=1).astype(np.float32) if costs else np.zeros((length, 0), np.float32),
        advice=advice,
    )


def _earned(skill: LearnedSkill, steps: Transition, instead: Reward | None, discount: float | None) -> FloatArray:
    """What each step earns: by the skill's own terms, or by a reward that knows nothing of ends. Shape: (T,).

    An end then counts as if the robot stayed there for ever. So a reward may be shifted by a constant, as learned ones
    are, and still neither falling nor being done pays by itself.
    """
    if instead is None:
        return skill.reward(steps)
    if discount is None:
        raise ValueError(f"the reward of {skill.name} is learned, which needs a learner with a discount")
    earned = instead(steps)
    return np.where(skill.terminated(steps), earned / (1.0 - discount), earned)


def _shaping(skill: LearnedSkill, steps: Transition, discount: float | None) -> FloatArray:
    """Shape: (T,)."""
    before = skill.potential(steps.frame)
    after = skill.potential(steps.next_frame)
    if discount is None or before is None or after is None:
        return np.zeros(len(steps))
    return shaped(before, after, discount, skill.terminated(steps))


def mean_reward_terms(skill: LearnedSkill, steps: Transition) -> dict[str, float]:
    """Mean of each named reward term over one attempt."""
    return {name: float(np.mean(term)) for name, term in skill.reward_terms(steps).items()}


def attempt_return(skill: LearnedSkill, steps: Transition) -> float:
    """Sum of rewards over one attempt."""
    reward: FloatArray = skill.reward(steps)
    return float(reward.sum())
