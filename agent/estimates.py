"""How far a figure over attempts can be trusted: intervals of a share and of an interquartile mean."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 2000


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided interval of a share (Wilson 1927); from 0 to 1 of nothing."""
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2.0)
    share, spread = successes / n, z * z / n
    middle = (share + spread / 2.0) / (1.0 + spread)
    half = z * math.sqrt(share * (1.0 - share) / n + spread / (4.0 * n)) / (1.0 + spread)
    # Rounding must not put the share itself outside.
    return min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half))


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
