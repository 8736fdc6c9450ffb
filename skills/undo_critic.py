"""How probable it is that what has been done can still be undone, told from what the robot measures now.

A task names the skill that undoes it. Where that skill hardly ever succeeds any more, going on makes things worse: the
attempt ends early, as in Leave No Trace (Eysenbach et al. 2018, arXiv 1711.06782), and none is begun. In NumPy, for the
control loop; `skills.learners.undo` learns it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from sim.robot import FloatArray, FrameLayout, Frames, Observation, RobotSpec
from skills.ensemble import FeatureEnsemble, probability
from skills.family import Family

Float32 = NDArray[np.float32]
_SKILL = "skill."
"""Beginning of the names of tensors that belong to one skill."""


@dataclass(frozen=True, kw_only=True)
class UndoCriticWeights(FeatureEnsemble):
    """One version of the critics."""

    skills: tuple[str, ...]
    """Skills whose success is foretold, in the order of the networks' outputs."""
    least: NDArray[np.float64]
    """Probability of each skill's success below which nothing is to be done that it would have to undo; 0: anything may
    be done. Shape: (K,)."""

    def __post_init__(self) -> None:
        """Refuse what does not fit together."""
        super().__post_init__()
        if not self.outputs == len(self.skills) == len(self.least):
            raise ValueError(f"the networks do not foretell {len(self.skills)} skills")

    @property
    def finite(self) -> bool:
        """Whether no number is NaN or infinite."""
        return super().finite and bool(np.isfinite(self.least).all())

    def to_bytes(self) -> bytes:
        """Serialise to safetensors."""
        least = {f"{_SKILL}{i:02d}.{name}": self.least[i : i + 1] for i, name in enumerate(self.skills)}
        return save(self.tensors() | least)

    @classmethod
    def from_bytes(cls, data: bytes) -> UndoCriticWeights:
        """Read what `to_bytes` wrote.

        Raises:
            ValueError: the bytes are truncated, lack a tensor, or hold shapes that do not fit together.
        """
        try:
            tensors = load(data)
            names = sorted(name for name in tensors if name.startswith(_SKILL))
            return cls(
                skills=tuple(name.split(".", 2)[2] for name in names),
                least=np.array([float(tensors[name][0]) for name in names]),
                **cls.fields_of(tensors),
            )
        except (SafetensorError, KeyError, IndexError) as error:
            raise ValueError(f"undo critic bytes cannot be read ({error}); use the last good version") from error


class UndoCritic:
    """Judges readings with one version of the weights."""

    def __init__(self, spec: RobotSpec, family: Family, weights: UndoCriticWeights) -> None:
        """Prepare to judge.

        Raises:
            ValueError: a weight is NaN or infinite, or the weights are those of another robot.
        """
        if not weights.finite:
            raise ValueError("the undo critic holds NaN or infinity; use the last good version")
        if len(weights.mean) != family.feature_size(spec):
            raise ValueError(
                f"the undo critic takes {len(weights.mean)} features, {spec.name} has {family.feature_size(spec)}"
            )
        self.weights = weights
        self._spec, self._family, self._layout = spec, family, FrameLayout.of(spec)
        self._skills = np.array(weights.skills)

    def hopeless(self, observation: Observation) -> frozenset[str]:
        """The skills that would hardly ever succeed from here on: what they are for can hardly be undone."""
        return frozenset(self._skills[self.hopeless_at(self._layout.pack(observation)[None])[0]])

    def hopeless_at(self, frames: FloatArray) -> NDArray[np.bool_]:
        """Whether each skill would hardly ever succeed from each frame. Shape: (T, frame width) to (T, K)."""
        below: NDArray[np.bool_] = self.probabilities(frames) < self.weights.least
        return below

    def probabilities(self, frames: FloatArray) -> FloatArray:
        """Of each skill's success, were it to begin at each frame. Shape: (T, frame width) to (T, K)."""
        return success_probabilities(self.weights, timeless_features(self._spec, self._family, frames))


def timeless_features(spec: RobotSpec, family: Family, frames: FloatArray) -> Float32:
    """Features of where things are, whatever was done before. Shape: (T, frame width) to (T, F)."""
    seen = Frames(np.asarray(frames, np.float32), FrameLayout.of(spec))
    still = np.zeros((len(frames), family.action_size(spec)), np.float32)
    return family.features(spec, seen, np.zeros(len(frames)), still)


def success_probabilities(weights: UndoCriticWeights, features: Float32) -> FloatArray:
    """Of each skill's success, the lower the less the ensemble agrees. Shape: (B, F) to (B, K)."""
    return probability(weights.log_odds(features))
