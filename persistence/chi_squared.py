"""The chi-squared law from SciPy's special functions; importing ``scipy.stats`` alone would take over a second."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def quantile(p: float, degrees: int) -> float:
    """Return x with P(X ≤ x) = p."""
    from scipy.special import gammaincinv

    return float(2 * gammaincinv(degrees / 2, p))


def upper_quantile(p: float, degrees: int) -> float:
    """Return x with P(X > x) = p."""
    from scipy.special import chdtri

    return float(chdtri(degrees, p))


def cdf(x: Any, degrees: int) -> NDArray[np.float64]:
    """Return P(X ≤ x). Shape: that of ``x``."""
    from scipy.special import chdtr

    return np.asarray(chdtr(degrees, x), dtype=np.float64)


def survival(x: Any, degrees: int) -> NDArray[np.float64]:
    """Return P(X > x). Shape: that of ``x``."""
    from scipy.special import chdtrc

    return np.asarray(chdtrc(degrees, x), dtype=np.float64)


def density(x: NDArray[np.float64], degrees: int) -> NDArray[np.float64]:
    """Return the density at ``x`` > 0. Shape: that of ``x``."""
    from scipy.special import gammaln

    half = degrees / 2
    return np.asarray(np.exp((half - 1) * np.log(x / 2) - x / 2 - gammaln(half)) / 2, dtype=np.float64)
