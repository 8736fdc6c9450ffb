"""How probable it is that the robot falls within the next moment, told from what it measures now.

In NumPy, for the control loop; `skills.learners.falls` learns it. It knows nothing of skills and actions: a robot that
marches, stands or walks by a script is watched, too, and the answer holds for the policy that runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from meta.robot_steps import posture, posture_size
from sim.robot import FloatArray, FrameLayout, Frames, Observation, RobotSpec
from skills import ensemble

Float32 = NDArray[np.float32]
_CLIP = 10.0
"""Bound of a normalised measurement, in standard deviations."""


@dataclass(frozen=True, kw_only=True)
class FallPredictorWeights:
    """One version of a fall predictor. Its arrays are never written to."""

    layers: ensemble.Layers
    """From a normalised `posture` to log-odds, uncalibrated."""
    mean: Float32
    std: Float32
    """Of the postures that it learned from. Shapes: (F,)."""
    horizon_s: float
    """What counts is a fall within this time."""
    caution: float
    """Standard deviations of the ensemble's log-odds that are added to their mean."""
    slope: float
    offset: float
    """Calibrated log-odds are ``slope`` times the cautious ones plus ``offset`` (Platt 1999)."""
    threshold: float
    """Probability above which there is an alarm; at 1 there is none."""

    def __post_init__(self) -> None:
        if not self.layers or self.layers[0][0].shape[1] != len(self.mean) or self.mean.shape != self.std.shape:
            raise ValueError(f"the networks do not take the {len(self.mean)} numbers of a posture")

    @property
    def finite(self) -> bool:
        """Whether no number is NaN or infinite."""
        rest = (*self.mean, *self.std, self.slope, self.offset, self.caution, self.threshold)
        return ensemble.finite(self.layers) and bool(np.isfinite(rest).all())

    def to_bytes(self) -> bytes:
        """Serialise to safetensors."""
        numbers = (self.horizon_s, self.caution, self.slope, self.offset, self.threshold)
        tensors: dict[str, NDArray[Any]] = {
            "mean": self.mean,
            "std": self.std,
            "numbers": np.array(numbers, np.float64),
            **dict(ensemble.to_tensors(self.layers, "layer")),
        }
        return save(tensors)

    @classmethod
    def from_bytes(cls, data: bytes) -> FallPredictorWeights:
        """Read what `to_bytes` wrote.

        Raises:
            ValueError: the bytes are truncated, lack a tensor, or hold shapes that do not fit together.
        """
        try:
            tensors = load(data)
            horizon_s, caution, slope, offset, threshold = (float(value) for value in tensors["numbers"])
            return cls(
                layers=ensemble.from_tensors(tensors, "layer"),
                mean=tensors["mean"],
                std=tensors["std"],
                horizon_s=horizon_s,
                caution=caution,
                slope=slope,
                offset=offset,
                threshold=threshold,
            )
        except (SafetensorError, KeyError, IndexError) as error:
            raise ValueError(f"fall predictor bytes cannot be read ({error}); use the last good version") from error


class FallPredictor:
    """Judges readings with one version of the weights."""

    def __init__(self, spec: RobotSpec, weights: FallPredictorWeights) -> None:
        """Prepare to judge.

        Raises:
            ValueError: a weight is NaN or infinite, or the weights are those of another robot.
        """
        if not weights.finite:
            raise ValueError("the fall predictor holds NaN or infinity; use the last good version")
        if len(weights.mean) != posture_size(spec):
            raise ValueError(
                f"the fall predictor takes {len(weights.mean)} numbers, those of {spec.name} are {posture_size(spec)}"
            )
        self.weights = weights
        self._spec = spec
        self._layout = FrameLayout.of(spec)

    def alarm(self, observation: Observation) -> bool:
        """Whether this reading tells of a fall."""
        return self.probability(observation) > self.weights.threshold

    def probability(self, observation: Observation) -> float:
        """Of a fall within the horizon."""
        return float(self.probabilities(self._layout.pack(observation)[None])[0])

    def probabilities(self, frames: FloatArray) -> FloatArray:
        """Of a fall within the horizon after each frame. Shape: (T, frame width) to (T,)."""
        return probabilities(self.weights, posture(self._spec, Frames(frames, self._layout)))


def probabilities(weights: FallPredictorWeights, postures: Float32) -> FloatArray:
    """Of a fall within the horizon after each posture, calibrated. Shape: (B, F) to (B,)."""
    return calibrated(cautious_log_odds(weights, postures), weights.slope, weights.offset)


def calibrated(log_odds: FloatArray, slope: float, offset: float) -> FloatArray:
    """Probabilities of cautious log-odds (Platt 1999). Shape: (B,) to (B,)."""
    result: FloatArray = 1.0 / (1.0 + np.exp(-np.clip(slope * log_odds + offset, -60.0, 60.0)))
    return result


def cautious_log_odds(weights: FallPredictorWeights, postures: Float32) -> Float32:
    """Before calibration. Shape: (B, F) to (B,)."""
    x = np.clip((postures - weights.mean) / weights.std, -_CLIP, _CLIP).astype(np.float32)
    return ensemble.cautious(ensemble.forward(weights.layers, x)[..., 0], weights.caution)
