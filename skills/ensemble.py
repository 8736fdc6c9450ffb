"""An ensemble of small networks side by side, in NumPy for the control loop; torch learns them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Layers = tuple[tuple[Float32, Float32], ...]
"""Weight (E, in, out) and bias (E, 1, out) of each layer of an ensemble of E, with ReLU between two layers."""


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
