"""What a robot is expected to do next, in NumPy for the control loop, and by how much it errs from that.

An ensemble of dynamics models as `meta.dynamics` learns it, with calibrated errors of calm times (`meta.change_point`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from meta.change_point import Calibration
from meta.transitions import CLIP, Float32, Scales


@dataclass(frozen=True, kw_only=True)
class ForwardModel:
    """An ensemble of dynamics models. Its arrays are never written to."""

    layers: tuple[tuple[Float32, Float32], ...]
    """Weight (E, in, out) and bias (E, 1, out), with ReLU between two layers; the last one puts out mean and raw log
    variance of the normalised difference of states."""
    log_variance: tuple[Float32, Float32]
    """Soft bounds of it, lower and upper. Shapes: (E, 1, S)."""
    scales: Scales

    def __post_init__(self) -> None:
        """Refuse what does not fit together."""
        size = len(self.scales.delta_mean)
        widths = [(weight.shape[1], weight.shape[2]) for weight, _ in self.layers]
        if not widths or widths[0][0] != len(self.scales.input_mean) or widths[-1][1] != 2 * size:
            raise ValueError(f"layers {widths} do not lead from {len(self.scales.input_mean)} to twice {size} numbers")
        for (_, out), (into, _) in pairwise(widths):
            if out != into:
                raise ValueError(f"a layer gives {out} numbers, and the next one takes {into}")

    def errors(self, states: Float32, actions: Float32, following: Float32) -> tuple[Float32, Float32, Float32]:
        """How far off the next states are.

        Args:
            states: shape: (T, S).
            actions: shape: (T, A).
            following: the states one step on. Shape: (T, S).

        Returns:
            The error in standard deviations of the mixture of all members, and the mean that was foretold, in the units
            of the state, shapes (T, S); and how much the members disagree, in usual steps. Shape: (T,).
        """
        s = self.scales
        inputs = (np.concatenate((states, actions), axis=-1) - s.input_mean) / s.input_std
        x = np.clip(inputs, -CLIP, CLIP).astype(np.float32)[None]
        for index, (weight, bias) in enumerate(self.layers):
            x = np.matmul(x, weight) + bias
            if index < len(self.layers) - 1:
                x = np.maximum(x, 0.0)
        size = len(s.delta_mean)
        mean, raw = x[..., :size], x[..., size:]
        low, high = self.log_variance
        log_variance = low + _softplus(high - _softplus(high - raw) - low)
        variance = np.exp(log_variance).mean(axis=0) + mean.var(axis=0)
        expected = states + mean.mean(axis=0) * s.delta_std + s.delta_mean
        disagreement: Float32 = np.sqrt(mean.var(axis=0).mean(axis=-1))
        return (following - expected) / (np.sqrt(variance) * s.delta_std), expected, disagreement


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """One version."""

    version: int
    """Rises with each version of a learner."""
    model: ForwardModel
    calibrations: tuple[Calibration, ...]
    """One for each length of blocks."""
    usual_checks: Float32
    """What sensors usually differ by, by how the robot turns (`meta.sensor_checks`). Shape: (D + 1, C)."""
    familiar: float
    """Where the members disagree more, the robot is where it has seldom been, and their errors say nothing."""

    @property
    def finite(self) -> bool:
        """Whether no number is NaN or infinite."""
        return all(bool(np.isfinite(array).all()) for array in self._tensors().values())

    def to_bytes(self) -> bytes:
        """Serialise to safetensors."""
        return save({name: np.ascontiguousarray(array) for name, array in self._tensors().items()})

    @classmethod
    def from_bytes(cls, data: bytes) -> Expectation:
        """Read what `to_bytes` wrote.

        Raises:
            ValueError: the bytes are truncated, lack a tensor, or hold shapes that do not fit together.
        """
        try:
            tensors = load(data)
            layers = sum(name.startswith("weight.") for name in tensors)
            lengths = sum(name.startswith("calibration.block.") for name in tensors)
            return cls(
                version=int(tensors["version"][0]),
                model=ForwardModel(
                    layers=tuple((tensors[f"weight.{i}"], tensors[f"bias.{i}"]) for i in range(layers)),
                    log_variance=(tensors["log_variance.low"], tensors["log_variance.high"]),
                    scales=Scales(**{field.name: tensors[f"scales.{field.name}"] for field in fields(Scales)}),
                ),
                calibrations=tuple(
                    Calibration(
                        block=int(tensors[f"calibration.block.{i}"][0]),
                        calm=tensors[f"calibration.calm.{i}"],
                        between=tensors[f"calibration.between.{i}"],
                        inflation=tensors[f"calibration.inflation.{i}"],
                        signed=int(tensors[f"calibration.signed.{i}"][0]),
                    )
                    for i in range(lengths)
                ),
                usual_checks=tensors["usual_checks"],
                familiar=float(tensors["familiar"][0]),
            )
        except (SafetensorError, KeyError, IndexError) as error:
            raise ValueError(f"expectation bytes cannot be read ({error}); use the last good version") from error

    def _tensors(self) -> dict[str, NDArray[Any]]:
        layers = {
            f"{kind}.{i}": array
            for i, layer in enumerate(self.model.layers)
            for kind, array in zip(("weight", "bias"), layer, strict=True)
        }
        scales = {f"scales.{field.name}": getattr(self.model.scales, field.name) for field in fields(Scales)}
        calibrations = {
            f"calibration.{name}.{i}": array
            for i, each in enumerate(self.calibrations)
            for name, array in (
                ("block", np.array([each.block])),
                ("calm", each.calm),
                ("between", each.between),
                ("inflation", each.inflation),
                ("signed", np.array([each.signed])),
            )
        }
        return {
            **layers,
            **calibrations,
            **scales,
            "version": np.array([self.version]),
            "familiar": np.array([self.familiar]),
            "usual_checks": self.usual_checks,
            "log_variance.low": self.model.log_variance[0],
            "log_variance.high": self.model.log_variance[1],
        }


def _softplus(x: Float32) -> Float32:
    """log(1 + exp(x)), without overflow."""
    out: Float32 = np.logaddexp(np.float32(0.0), x)
    return out
