"""Whether a skill's goal is reached, told from what the robot measures; learned from end states that a person judged.

A person shows what success looks like instead of writing a rule for it, as in VICE (Fu et al. 2018, arXiv 1805.11686)
and in Singh et al. 2019 (arXiv 1904.07854). In NumPy, for the control loop; `skills.learners.success` learns it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from sim.robot import FloatArray, FrameLayout, Observation, RobotSpec
from skills import ensemble
from skills.ensemble import FeatureEnsemble
from skills.family import Family
from skills.undo_critic import timeless_features


@dataclass(frozen=True, kw_only=True)
class SuccessWeights(FeatureEnsemble):
    """One version of the classifier of one skill; its log-odds are calibrated."""

    threshold: float
    """Probability above which the goal is reached."""

    def __post_init__(self) -> None:
        """Refuse what does not fit together."""
        super().__post_init__()
        if self.outputs != 1:
            raise ValueError(f"the networks give {self.outputs} answers, not one")

    @property
    def finite(self) -> bool:
        """Whether no number is NaN or infinite."""
        return super().finite and isfinite(self.threshold)

    def probabilities(self, features: ensemble.Float32) -> FloatArray:
        """That the goal is reached, the lower the less the ensemble agrees. Shape: (B, F) to (B,)."""
        return ensemble.probability(self.log_odds(features)[:, 0])

    def to_bytes(self) -> bytes:
        """Serialise to safetensors."""
        return save(self.tensors() | {"threshold": np.array(self.threshold, np.float64)})

    @classmethod
    def from_bytes(cls, data: bytes) -> SuccessWeights:
        """Read what `to_bytes` wrote.

        Raises:
            ValueError: the bytes are truncated, lack a tensor, or hold shapes that do not fit together.
        """
        try:
            tensors = load(data)
            return cls(threshold=float(tensors["threshold"]), **cls.fields_of(tensors))
        except (SafetensorError, KeyError, IndexError, TypeError) as error:
            raise ValueError(f"success classifier bytes cannot be read ({error})") from error


class SuccessClassifier:
    """Judges readings with one version of the weights."""

    def __init__(self, spec: RobotSpec, family: Family, weights: SuccessWeights) -> None:
        """Prepare to judge.

        Raises:
            ValueError: a weight is NaN or infinite, or the weights are those of another robot or family.
        """
        if not weights.finite:
            raise ValueError("the success classifier holds NaN or infinity")
        if len(weights.mean) != family.feature_size(spec):
            raise ValueError(
                f"the success classifier takes {len(weights.mean)} features, the {family.name!r} family of {spec.name} "
                f"has {family.feature_size(spec)}"
            )
        self.weights = weights
        self._spec, self._family, self._layout = spec, family, FrameLayout.of(spec)

    def probability(self, observation: Observation) -> float:
        """That the goal is reached at this reading."""
        return float(self.probabilities(self._layout.pack(observation)[None])[0])

    def reached(self, observation: Observation) -> bool:
        """Whether the goal is reached at this reading."""
        return bool(self.reached_in(self._layout.pack(observation)[None])[0])

    def reached_in(self, frames: FloatArray) -> NDArray[np.bool_]:
        """Whether the goal is reached at each frame. Shape: (T, frame width) to (T,)."""
        reached: NDArray[np.bool_] = self.probabilities(frames) > self.weights.threshold
        return reached

    def probabilities(self, frames: FloatArray) -> FloatArray:
        """That the goal is reached at each frame. Shape: (T, frame width) to (T,)."""
        return self.weights.probabilities(timeless_features(self._spec, self._family, frames))
