"""Exact interval factors of Crow for the current MTBF of a power-law process.

Both return multiples of the maximum-likelihood estimate. L. H. Crow, "Confidence interval procedures for reliability
growth analysis", AMSAA TR-197 (1977).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from persistence import chi_squared

_NODES = 200
_TAIL = 1e-18


def time_terminated_factors(failures: int, confidence: float) -> tuple[float, float]:
    """Return (lower, upper) factors for a test that ended at a set time; conservative.

    With H(x|k) = Σ_{j=1..k} (x/2)^(2j-1) / ((j-1)! j!) / I₁(x): solve H(x₁|N) = α/2 and H(x₂|N-1) = 1-α/2; the
    factors are 4N²/x₁² and 4N²/x₂².

    Args:
        failures: N, 2 or more.
        confidence: Two-sided, in (0, 1).
    """
    alpha = 1 - confidence
    lower_x = _solve_falling(lambda x: _bessel_share(x, failures), alpha / 2, start=2.0 * failures)
    upper_x = _solve_falling(lambda x: _bessel_share(x, failures - 1), 1 - alpha / 2, start=2.0 * failures)
    return 4 * failures**2 / lower_x**2, 4 * failures**2 / upper_x**2


def failure_terminated_factors(failures: int, confidence: float) -> tuple[float, float]:
    """Return (lower, upper) factors for a test that ended at its last failure; exact.

    estimate / MTBF is distributed as Z·S/(4N²) with independent Z ~ χ²(2N), S ~ χ²(2(N-1)); see `product_cdf`.

    Args:
        failures: N, 2 or more.
        confidence: Two-sided, in (0, 1).
    """
    alpha = 1 - confidence
    start = 4.0 * failures**2

    def above(y: float) -> float:
        return 1 - product_cdf(y, failures)

    low = _solve_falling(above, 1 - alpha / 2, start=start)
    high = _solve_falling(above, alpha / 2, start=start)
    return start / high, start / low


def product_cdf(y: float, failures: int) -> float:
    """Return P(Z·S ≤ y) for independent Z ~ χ²(2N) and S ~ χ²(2(N-1)), by Gauss-Legendre quadrature over S."""
    degrees = 2 * (failures - 1)
    low, high = chi_squared.quantile(_TAIL, degrees), chi_squared.upper_quantile(_TAIL, degrees)
    nodes, weights = _quadrature()
    s = low + (high - low) * (nodes + 1) / 2
    return float(
        (high - low) / 2 * np.sum(weights * chi_squared.density(s, degrees) * chi_squared.cdf(y / s, 2 * failures))
    )


@cache
def _quadrature() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    return nodes, weights


def _bessel_share(x: float, terms: int) -> float:
    """Return H(x|terms); in logarithms and with the scaled Bessel function, so that no term overflows."""
    from scipy.special import gammaln, ive

    j = np.arange(1, terms + 1)
    logs = (2 * j - 1) * np.log(x / 2) - gammaln(j) - gammaln(j + 1) - x
    return float(np.sum(np.exp(logs)) / ive(1, x))


def _solve_falling(function: Callable[[float], float], value: float, start: float) -> float:
    """Return x > 0 where the falling ``function`` takes ``value``."""
    from scipy.optimize import brentq

    low = high = start
    while function(low) < value:
        low /= 2
    while function(high) > value:
        high *= 2
    if low == high:
        return start
    return float(brentq(lambda x: function(x) - value, low, high, xtol=1e-12 * start, rtol=1e-14))
