"""The interquartile mean of a figure over attempts, and how far it can be trusted."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 2000


def interquartile_mean(values: ArrayLike) -> NDArray[np.float64]:
    """Mean of the middle half (Agarwal et al. 2021, arXiv 2108.13264); what lies across a quartile counts by its share.

    Args:
        values: may hold infinity. Shape: (..., n).

    Returns:
        Shape: (...).
    """
    ordered = np.sort(np.asarray(values, np.float64), axis=-1)
    n = ordered.shape[-1]
    edges = np.arange(n + 1) / n
    weight = np.minimum(edges[1:], 0.75) - np.maximum(edges[:-1], 0.25)
    inside = weight > 1e-12  # infinity times no weight would be NaN
    return np.asarray(ordered[..., inside] @ (weight[inside] / 0.5))


def iqm_interval(values: ArrayLike, confidence: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap interval of the interquartile mean (section 4.2 of that paper), the same each time."""
    values = np.asarray(values, np.float64)
    drawn = values[np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))]
    low, high = np.quantile(interquartile_mean(drawn), (0.5 - confidence / 2.0, 0.5 + confidence / 2.0))
    return float(low), float(high)
