"""Growth of grouped data and Duane's regression; public through `persistence.reliability`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persistence import chi_squared
from persistence.reliability_input import failure_times

_SMALLEST_EXPECTED = 5.0


@dataclass(frozen=True, kw_only=True, eq=False)
class CrowGrouped:
    """A power-law process fitted to failure counts of intervals."""

    beta: float
    lambda_: float
    mtbf: float
    """Instantaneous MTBF at the end of the last interval."""
    intensity: float
    last_interval_mtbf: float
    """Length of the last interval over its expected failures."""
    last_interval_intensity: float
    expected: NDArray[np.float64]
    """Expected failures of each interval. Shape: (k,)."""
    chi_squared: float
    degrees_of_freedom: int
    """Groups with at least 5 expected failures, less 2; 0 when the fit cannot be tested."""
    fit_p: float | None


@dataclass(frozen=True, kw_only=True)
class Duane:
    """Duane's line: log of cumulative MTBF over log of time."""

    alpha: float
    """Growth slope."""
    b: float
    """Cumulative MTBF at time 1."""
    end: float
    mtbf_cumulative: float
    mtbf: float
    """Instantaneous MTBF at ``end``."""

    @property
    def scale(self) -> float:
        """Cumulative failure rate at time 1, 1/b."""
        return 1 / self.b

    def time_to_cumulative_mtbf(self, target: float) -> float:
        """Return the time at which the cumulative MTBF reaches ``target`` if the line goes on."""
        return float((target / self.b) ** (1 / self.alpha))


def crow_amsaa_grouped(ends: ArrayLike, counts: ArrayLike) -> CrowGrouped:
    """Fit a power-law process to counts (MIL-HDBK-189, grouped data).

    Solves Σ nᵢ [(Tᵢ^β ln Tᵢ - Tᵢ₋₁^β ln Tᵢ₋₁) / (Tᵢ^β - Tᵢ₋₁^β) - ln T_k] = 0.

    Args:
        ends: Ends of the intervals, ascending; the first interval starts at 0. Shape: (k,), k ≥ 2.
        counts: Failures in each. Shape: (k,).

    Raises:
        ValueError: Shapes do not fit, values are out of range, or the counts do not determine β.
    """
    t, n = _check_groups(ends, counts)
    beta = _solve_beta(t, n)
    total, t_end = float(n.sum()), float(t[-1])
    lambda_ = total / t_end**beta
    expected = np.diff(lambda_ * np.concatenate([[0.0], t]) ** beta)
    statistic, groups = _chi_squared(n, expected)
    freedom = max(groups - 2, 0)
    intensity = lambda_ * beta * t_end ** (beta - 1)
    last = float(expected[-1] / (t[-1] - t[-2]))
    return CrowGrouped(
        beta=beta,
        lambda_=lambda_,
        mtbf=1 / intensity,
        intensity=intensity,
        last_interval_mtbf=1 / last,
        last_interval_intensity=last,
        expected=expected,
        chi_squared=statistic,
        degrees_of_freedom=freedom,
        fit_p=float(chi_squared.survival(statistic, freedom)) if freedom else None,
    )


def duane(times: ArrayLike) -> Duane:
    """Fit ln(tᵢ/i) = ln b + α ln tᵢ by least squares (Duane 1964).

    Args:
        times: Failure times, ascending, 2 or more. Shape: (N,).

    Raises:
        ValueError: A time is out of range, or all are equal.
    """
    t = failure_times(times, minimum=2)
    if t[0] == t[-1]:
        raise ValueError(f"all failures lie at {t[0]}; a line needs two different times")
    x, y = np.log(t), np.log(t / np.arange(1, len(t) + 1))
    alpha, intercept = (float(value) for value in np.polyfit(x, y, 1))
    b, end = math.exp(intercept), float(t[-1])
    cumulative = b * end**alpha
    return Duane(alpha=alpha, b=b, end=end, mtbf_cumulative=cumulative, mtbf=cumulative / (1 - alpha))


def _check_groups(ends: ArrayLike, counts: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    t, n = np.asarray(ends, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    if t.ndim != 1 or t.shape != n.shape or len(t) < 2:
        raise ValueError(f"ends and counts must be 1-D of equal length >= 2, got shapes {t.shape} and {n.shape}")
    if not np.all(np.isfinite(t)) or t[0] <= 0 or np.any(np.diff(t) <= 0):
        raise ValueError(f"ends must be finite, more than 0 and ascending, got {t.tolist()}")
    if not np.all(np.isfinite(n)) or np.any(n < 0) or np.any(n != np.floor(n)):
        raise ValueError(f"counts must be whole numbers >= 0, got {n.tolist()}")
    if n.sum() < 2 or n[1:].sum() == 0:
        raise ValueError(f"counts {n.tolist()} do not determine β; at least 2 failures, one after the first interval")
    return t, n


def _solve_beta(t: NDArray[np.float64], n: NDArray[np.float64]) -> float:
    from scipy.optimize import brentq

    # in units of the end, ln T_k vanishes and no power overflows
    u = t / t[-1]
    low, high, logs = u[:-1], u[1:], np.log(u)

    def score(beta: float) -> float:
        ratio = (low / high) ** beta
        later = (logs[1:] - ratio * logs[:-1]) / (1 - ratio)
        return float(n[0] * logs[0] + np.sum(n[1:] * later))

    def falling_log(x: float) -> float:
        return score(math.exp(x))

    bracket = 1.0
    while falling_log(-bracket) < 0 or falling_log(bracket) > 0:
        bracket *= 2
        if bracket > 64:
            raise ValueError(f"counts {n.tolist()} do not determine β; failures are needed in more than one interval")
    return math.exp(float(brentq(falling_log, -bracket, bracket, xtol=1e-14, rtol=1e-14)))


def _chi_squared(counts: NDArray[np.float64], expected: NDArray[np.float64]) -> tuple[float, int]:
    """Return Pearson's statistic and the number of groups, neighbours pooled until 5 failures are expected in each."""
    groups: list[list[Any]] = []
    for count, mean in zip(counts, expected, strict=True):
        if groups and groups[-1][1] < _SMALLEST_EXPECTED:
            groups[-1] = [groups[-1][0] + count, groups[-1][1] + mean]
        else:
            groups.append([count, mean])
    if len(groups) > 1 and groups[-1][1] < _SMALLEST_EXPECTED:
        count, mean = groups.pop()
        groups[-1] = [groups[-1][0] + count, groups[-1][1] + mean]
    return float(sum((count - mean) ** 2 / mean for count, mean in groups)), len(groups)
