"""An ensemble of small networks side by side, in NumPy for the control loop; torch learns them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Layers = tuple[tuple[Float32, Float32], ...]
"""Weight (E, in, out) and bias (E, 1, out) of each layer of an ensemble of E, with ReLU between two layers."""
CLIP = 10.0
"""Bound of a normalised feature, in standard deviations."""


@dataclass(frozen=True, kw_only=True)
class FeatureEnsemble:
    """An ensemble that foretells from feature rows, with how it normalises them. Its arrays are never written to."""

    layers: Layers
    """From normalised features to log-odds."""
    mean: Float32
    std: Float32
    """Of the features that it learned from. Shapes: (F,)."""
    caution: float
    """Standard deviations of the ensemble's log-odds that are taken off their mean."""

    def __post_init__(self) -> None:
        """Refuse what does not fit together."""
        if not self.layers or not self.layers[0][0].shape[1:2] == self.mean.shape == self.std.shape:
            raise ValueError(f"the networks do not take {self.mean.size} features")
        for weight, bias in self.layers:
            if weight.ndim != 3 or bias.shape != (len(weight), 1, weight.shape[2]):
                raise ValueError(f"a layer has weights {weight.shape} and biases {bias.shape}")
        for (first, _), (second, _) in pairwise(self.layers):
            if first.shape[::2] != second.shape[:2]:
                raise ValueError(f"a layer {first.shape} comes before one of {second.shape}")

    @property
    def outputs(self) -> int:
        """How many log-odds there are of each row."""
        return int(self.layers[-1][0].shape[2])

    @property
    def finite(self) -> bool:
        """Whether no number is NaN or infinite."""
        return finite(self.layers) and bool(np.isfinite((*self.mean, *self.std, self.caution)).all())

    def log_odds(self, features: Float32) -> Float32:
        """The lower, the less the members agree. Shape: (B, F) to (B, outputs)."""
        return cautious(forward(self.layers, normalised(features, self.mean, self.std)), -self.caution)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Itself by names, to store."""
        caution = np.array(self.caution, np.float64)
        return {"mean": self.mean, "std": self.std, "caution": caution, **dict(to_tensors(self.layers, "layer"))}

    @staticmethod
    def fields_of(tensors: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        """Arguments that make an ensemble of what `tensors` gave.

        Raises:
            KeyError: a tensor is missing.
        """
        return {
            "layers": from_tensors(tensors, "layer"),
            "mean": tensors["mean"],
            "std": tensors["std"],
            "caution": float(tensors["caution"]),
        }


def normalised(features: Float32, mean: Float32, std: Float32) -> Float32:
    """Features as networks take them. Shapes: (..., F), (F,), (F,) to (..., F)."""
    result: Float32 = np.clip((features - mean) / std, -CLIP, CLIP).astype(np.float32)
    return result


def probability(log_odds: Float32) -> NDArray[np.float64]:
    """Shape: any to the same."""
    result: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-np.clip(log_odds, -60.0, 60.0).astype(np.float64)))
    return result


def forward(layers: Layers, x: Float32) -> Float32:
    """What each member puts out. Shape: (B, in) to (E, B, out)."""
    last = len(layers) - 1
    for index, (weight, bias) in enumerate(layers):
        x = x @ weight + bias
        if index < last:
            np.maximum(x, 0.0, out=x)
    return x


def finite(layers: Layers) -> bool:
    """Whether no number is NaN or infinite."""
    return all(bool(np.isfinite(array).all()) for layer in layers for array in layer)


def cautious(log_odds: Float32, caution: float) -> Float32:
    """Log-odds of the members as one, the higher the less they agree. Shape: (E, ...) to (...)."""
    result: Float32 = log_odds.mean(axis=0) + np.float32(caution) * log_odds.std(axis=0)
    return result


def to_tensors(layers: Layers, name: str) -> Iterator[tuple[str, Float32]]:
    """Tensors to store, by names that begin with ``name``."""
    for index, (weight, bias) in enumerate(layers):
        yield f"{name}{index:02d}.weight", np.ascontiguousarray(weight)
        yield f"{name}{index:02d}.bias", np.ascontiguousarray(bias)


def from_tensors(tensors: Mapping[str, NDArray[Any]], name: str) -> Layers:
    """What `to_tensors` gave.

    Raises:
        KeyError: a tensor is missing.
    """
    depth = sum(key.startswith(name) and key.endswith(".weight") for key in tensors)
    return tuple((tensors[f"{name}{i:02d}.weight"], tensors[f"{name}{i:02d}.bias"]) for i in range(depth))
