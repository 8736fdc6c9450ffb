"""Whether two samples differ: two shares, and two sets of figures whose distribution is not known."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike


def two_proportions(successes: int, n: int, successes_2: int, n_2: int) -> float:
    """Two-sided p-value of the pooled z-test that two shares are equal.

    Returns:
        1.0 where all succeed or all fail.

    Raises:
        ValueError: a sample is empty.
    """
    if not (n and n_2):
        raise ValueError(f"samples of {n} and {n_2} cannot be compared")
    pooled = (successes + successes_2) / (n + n_2)
    variance = pooled * (1.0 - pooled) * (1.0 / n + 1.0 / n_2)
    if variance == 0.0:
        return 1.0
    return math.erfc(abs(successes / n - successes_2 / n_2) / math.sqrt(2.0 * variance))


def rank_sum(higher: ArrayLike, lower: ArrayLike) -> float:
    """One-sided p-value of Mann and Whitney's test that ``higher`` tends to exceed ``lower``.

    Normal approximation (Mann and Whitney 1947) with corrections for ties and for continuity.

    Args:
        higher: figures. Shape: (n,).
        lower: figures. Shape: (m,).

    Returns:
        1.0 where all figures are equal.

    Raises:
        ValueError: a sample is empty.
    """
    x, y = np.asarray(higher, np.float64), np.asarray(lower, np.float64)
    n, m = len(x), len(y)
    if not (n and m):
        raise ValueError(f"samples of {n} and {m} cannot be compared")
    above = float((x[:, None] > y).sum() + 0.5 * (x[:, None] == y).sum())
    _, ties = np.unique(np.concatenate((x, y)), return_counts=True)
    total = n + m
    variance = n * m / 12.0 * (total + 1 - float((ties**3 - ties).sum()) / (total * (total - 1)))
    if variance <= 0.0:
        return 1.0
    z = (above - 0.5 * n * m - 0.5) / math.sqrt(variance)
    return 0.5 * math.erfc(z / math.sqrt(2.0))
