"""A reward that is no function of a skill's own: learned from what a person said of stored attempts.

From examples of success, as in VICE (Fu et al. 2018, arXiv 1805.11686) and in Singh et al. 2019 (arXiv 1904.07854):
the log-odds that a goal is reached. From preferences: of two attempts the better one earns more (Christiano et al.
2017, arXiv 1706.03741). In NumPy; `skills.learners.rewards` learns both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from sim.robot import FloatArray, RobotSpec, Transition, body_velocity
from skills.ensemble import FeatureEnsemble, Float32
from skills.family import Family
from skills.undo_critic import timeless_features

LIMIT = 3.0
"""Bound of a learned reward, in its standard deviations over what it was learned from."""
_MOTION = 6
"""Columns of `reward_rows` beside the family's features."""

Reward = Callable[[Transition], FloatArray]
"""Steps of a robot to what each of them earns, shape (batch,): finite, of each step by itself, and always the same.

`LearnedSkill.reward` is one, and so is `LearnedReward`. A good step is worth about 1.
"""


class Source(StrEnum):
    """What a reward was learned from."""

    EXAMPLES = "examples"
    PREFERENCES = "preferences"


@dataclass(frozen=True, kw_only=True)
class RewardWeights(FeatureEnsemble):
    """One version of the reward of one skill. What it puts out has unit variance over what it was learned from."""

    source: Source
    held_out_accuracy: float
    """Share of what a person said that it told rightly without having learned from it; -1: there was too little."""

    def __post_init__(self) -> None:
        """Refuse what does not fit together."""
        super().__post_init__()
        if self.outputs != 1:
            raise ValueError(f"the networks give {self.outputs} rewards, not one")

    @property
    def finite(self) -> bool:
        """Whether no number is NaN or infinite."""
        return super().finite and isfinite(self.held_out_accuracy)

    def rewards(self, rows: Float32) -> FloatArray:
        """The lower, the less the ensemble agrees, within `LIMIT`. Shape: (B, F) to (B,)."""
        earned: FloatArray = np.clip(self.log_odds(rows)[:, 0], -LIMIT, LIMIT)
        return earned

    def to_bytes(self) -> bytes:
        """Serialise to safetensors."""
        source = np.frombuffer(self.source.value.encode(), np.uint8)
        accuracy = np.array(self.held_out_accuracy, np.float64)
        return save(self.tensors() | {"source": source, "held_out_accuracy": accuracy})

    @classmethod
    def from_bytes(cls, data: bytes) -> RewardWeights:
        """Read what `to_bytes` wrote.

        Raises:
            ValueError: the bytes are truncated, lack a tensor, or hold shapes that do not fit together.
        """
        try:
            tensors = load(data)
            source = Source(tensors["source"].tobytes().decode())
            accuracy = float(tensors["held_out_accuracy"])
            return cls(source=source, held_out_accuracy=accuracy, **cls.fields_of(tensors))
        except (SafetensorError, KeyError, IndexError, TypeError) as error:
            raise ValueError(f"reward bytes cannot be read ({error})") from error


class LearnedReward:
    """What steps of a robot earn by one version of the weights."""

    def __init__(self, spec: RobotSpec, family: Family, weights: RewardWeights) -> None:
        """Prepare to judge.

        Raises:
            ValueError: a weight is NaN or infinite, or the weights are those of another robot or family.
        """
        if not weights.finite:
            raise ValueError("the reward holds NaN or infinity")
        width = reward_width(spec, family, weights.source)
        if len(weights.mean) != width:
            raise ValueError(
                f"the reward takes {len(weights.mean)} features, the {family.name!r} family of {spec.name} has {width}"
            )
        self.weights = weights
        self._spec, self._family = spec, family

    def __call__(self, steps: Transition) -> FloatArray:
        """Shape: (batch,)."""
        return self.weights.rewards(reward_rows(self._spec, self._family, steps, self.weights.source))


def reward_rows(spec: RobotSpec, family: Family, steps: Transition, source: Source) -> Float32:
    """What a learned reward sees of steps. Shape: (batch, `reward_width`).

    A goal is where things are after the step. A preference may also be for what was done, how the body moved, how high
    it is, and how much the action changed; a policy need not see any of it.
    """
    after = steps.next_frame
    if source is Source.EXAMPLES:
        return timeless_features(spec, family, after.data)
    action = np.asarray(steps.action, np.float32)
    seen = family.features(spec, after, np.zeros(len(steps)), action)
    height_m = after.base_position[..., 2]
    rise_mps = (height_m - steps.frame.base_position[..., 2]) / steps.dt_s
    roughness = np.mean((action - steps.previous_action) ** 2, axis=-1)
    motion = np.column_stack((body_velocity(steps), rise_mps, height_m, roughness))
    return np.concatenate((seen, motion), axis=-1, dtype=np.float32)


def reward_width(spec: RobotSpec, family: Family, source: Source) -> int:
    """Width of `reward_rows`."""
    return family.feature_size(spec) + (0 if source is Source.EXAMPLES else _MOTION)
