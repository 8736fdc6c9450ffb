"""How far a share of successes can be trusted."""

from __future__ import annotations

import math
from statistics import NormalDist


def proportion_interval(successes: int, n: int, confidence: float = 0.9) -> tuple[float, float]:
    """Two-sided interval of a share by its score test (Wilson 1927), which stays honest for few tries and near 0 and 1.

    Args:
        successes: of ``n``.
        n: tries; of none nothing is known, so that the interval is (0, 1).
        confidence: in (0, 1); each bound alone has half as much doubt.

    Raises:
        ValueError: an argument is out of its range.
    """
    if not (0 <= successes <= n and 0.0 < confidence < 1.0):
        raise ValueError(f"{successes} of {n} with confidence {confidence}; valid: 0 <= successes <= n, 0 < c < 1")
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + 0.5 * confidence)
    share, scale = successes / n, 1.0 + z * z / n
    middle = (share + z * z / (2 * n)) / scale
    half = z * math.sqrt(share * (1.0 - share) / n + z * z / (4 * n * n)) / scale
    # Rounding must not put the share itself outside.
    return min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half))
