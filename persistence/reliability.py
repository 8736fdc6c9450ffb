"""Reliability statistics: MTBF with its interval, growth curves, trend tests. NumPy and SciPy only, no database.

Times and exposures may be in any unit; results are in the same. Two meanings of β meet in the literature: here β is
the power of the process, E[N(t)] = λ t^β, so β < 1 is growth; NIST's slope is 1 - β.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persistence import chi_squared
from persistence.crow_bounds import failure_terminated_factors, time_terminated_factors
from persistence.growth_curves import CrowGrouped, Duane, crow_amsaa_grouped, duane
from persistence.reliability_input import check_options, count, end_of, failure_times, positive

__all__ = [
    "CrowAmsaa",
    "CrowGrouped",
    "DemonstrationPlan",
    "Duane",
    "LaplaceTrend",
    "MtbfInterval",
    "NistPowerLaw",
    "crow_amsaa",
    "crow_amsaa_grouped",
    "duane",
    "exposure_to_claim",
    "improvement_p",
    "laplace_trend",
    "mtbf_interval",
    "nist_power_law",
    "plan_test",
]

Termination = Literal["time", "failure"]
MISFIT_LEVEL = 0.220
"""Cramér-von Mises statistic above which one power law does not describe the data (5% level for many failures)."""


@dataclass(frozen=True, kw_only=True)
class MtbfInterval:
    """MTBF of a process with a constant rate."""

    exposure: float
    failures: int
    confidence: float
    termination: str
    sides: int
    mtbf: float | None
    """None without a failure."""
    lower: float
    upper: float | None
    """None without a failure."""


def mtbf_interval(
    exposure: float,
    failures: int,
    confidence: float = 0.9,
    termination: Termination = "time",
    sides: Literal[1, 2] = 2,
) -> MtbfInterval:
    """Estimate the MTBF of a constant-rate process with a chi-squared interval (NIST e-Handbook 8.4.5.1).

    Args:
        exposure: Operating time, more than 0.
        failures: How many failures happened in it. Without any, only a one-sided lower bound exists: T/(-ln α).
        confidence: In (0, 1).
        termination: ``"time"`` if the observation ended by the clock (or still goes on), ``"failure"`` if at a failure.
        sides: 2 for an interval; 1 for two bounds of which each alone has the confidence.

    Raises:
        ValueError: An argument is out of its range.
    """
    exposure = positive("exposure", exposure)
    failures = count("failures", failures)
    check_options(confidence, termination)
    if sides not in (1, 2):
        raise ValueError(f"sides={sides!r}; valid: 1, 2")
    if failures == 0 and termination == "failure":
        raise ValueError("a failure-terminated observation has at least 1 failure, got 0; use termination='time'")
    if failures == 0:
        lower, upper = exposure / -math.log(1 - confidence), None
    else:
        tail = (1 - confidence) / sides
        extra = 2 if termination == "time" else 0
        lower = 2 * exposure / chi_squared.upper_quantile(tail, 2 * failures + extra)
        upper = 2 * exposure / chi_squared.quantile(tail, 2 * failures)
    return MtbfInterval(
        exposure=exposure,
        failures=failures,
        confidence=confidence,
        termination=termination,
        sides=sides,
        mtbf=exposure / failures if failures else None,
        lower=lower,
        upper=upper,
    )


def exposure_to_claim(mtbf: float, failures: int = 0, confidence: float = 0.9) -> float:
    """Return the exposure that shows MTBF ≥ ``mtbf`` at ``confidence`` with at most ``failures`` failures."""
    check_options(confidence, "time")
    return positive("mtbf", mtbf) * chi_squared.quantile(confidence, 2 * count("failures", failures) + 2) / 2


@dataclass(frozen=True, kw_only=True)
class DemonstrationPlan:
    """A test plan: run for ``duration``, accept with at most ``failures`` failures."""

    duration: float
    failures: int
    producer_risk: float
    """What the plan really leaves."""


def plan_test(required: float, design: float, consumer_risk: float, producer_risk: float) -> DemonstrationPlan:
    """Plan a test that shows ``required`` MTBF, at the length where the two risks meet.

    The risks meet between two whole numbers of allowed failures; the plan takes the smaller one, the shorter test. The
    consumer's risk then holds exactly, and the producer's may exceed its limit slightly: see ``producer_risk``.

    Args:
        required: MTBF to be shown.
        design: MTBF that the system is built for, above ``required``.
        consumer_risk: Chance to accept a system that only just lacks ``required``.
        producer_risk: Chance to reject a system that has ``design``.

    Raises:
        ValueError: An argument is out of its range.
    """
    if positive("design", design) <= positive("required", required):
        raise ValueError(f"design={design} must be above required={required}")
    for name, risk in (("consumer_risk", consumer_risk), ("producer_risk", producer_risk)):
        if not 0 < risk < 1:
            raise ValueError(f"{name}={risk!r} must lie in (0, 1)")
    plan = _plan(required, design, consumer_risk, 0)
    while plan.producer_risk > producer_risk:
        longer = _plan(required, design, consumer_risk, plan.failures + 1)
        if longer.producer_risk < producer_risk:
            break
        plan = longer
    return plan


def _plan(required: float, design: float, consumer_risk: float, failures: int) -> DemonstrationPlan:
    from scipy.special import pdtrc

    duration = exposure_to_claim(required, failures, 1 - consumer_risk)
    rejected = float(pdtrc(failures, duration / design))
    return DemonstrationPlan(duration=duration, failures=failures, producer_risk=rejected)


def improvement_p(failures_before: int, exposure_before: float, failures_after: int, exposure_after: float) -> float:
    """Return the one-sided p-value of "the rate fell between two phases": exact conditional binomial test."""
    from scipy.special import bdtr

    before, after = count("failures_before", failures_before), count("failures_after", failures_after)
    exposure = positive("exposure_after", exposure_after)
    share = exposure / (exposure + positive("exposure_before", exposure_before))
    return float(bdtr(after, before + after, share))


@dataclass(frozen=True, kw_only=True)
class CrowAmsaa:
    """A power-law process fitted to failure times: E[N(t)] = λ t^β."""

    failures: int
    end: float
    termination: str
    confidence: float
    beta: float
    """Maximum likelihood; under 1 the reliability grows."""
    beta_unbiased: float
    beta_lower: float
    beta_upper: float
    lambda_: float
    mtbf: float
    """Instantaneous MTBF at ``end``."""
    lower: float
    upper: float
    """Exact Crow bounds of ``mtbf``; conservative when time-terminated."""
    mtbf_cumulative: float
    cramer_von_mises: float | None
    """None when too few failures for ``beta_unbiased``."""
    trend_p: float
    """Two-sided p-value of "no trend" (MIL-HDBK-189): 2N/β̂ ~ χ²."""

    @property
    def growth_rate(self) -> float:
        """Slope of log MTBF over log time, 1 - β."""
        return 1 - self.beta

    @property
    def intensity(self) -> float:
        """Failures per unit of time at ``end``."""
        return 1 / self.mtbf

    @property
    def misfit(self) -> bool:
        """True when one curve does not describe the data, as after a change of the agent."""
        return self.cramer_von_mises is not None and self.cramer_von_mises > MISFIT_LEVEL

    def time_to_cumulative_mtbf(self, target: float) -> float:
        """Return the time at which the cumulative MTBF reaches ``target`` if the curve goes on."""
        ratio = positive("target", target) / self.mtbf_cumulative
        return float(self.end * ratio ** (1 / (1 - self.beta)))

    def covariance(self) -> NDArray[np.float64]:
        """Return the inverse Fisher information of (λ, β). Shape: (2, 2)."""
        log_t, power = math.log(self.end), self.end**self.beta
        off = power * log_t
        information = np.array(
            [
                [self.failures / self.lambda_**2, off],
                [off, self.failures / self.beta**2 + self.lambda_ * power * log_t**2],
            ]
        )
        return np.linalg.inv(information)

    def beta_fisher(self) -> tuple[float, float]:
        """Return the large-sample bounds β exp(±z √Var β / β), as others give them; prefer the exact ones."""
        from scipy.special import ndtri

        spread = float(ndtri((1 + self.confidence) / 2) * math.sqrt(self.covariance()[1, 1]) / self.beta)
        return self.beta * math.exp(-spread), self.beta * math.exp(spread)


def crow_amsaa(
    times: ArrayLike, end: float | None = None, termination: Termination = "time", confidence: float = 0.9
) -> CrowAmsaa:
    """Fit a power-law process (Crow 1974, MIL-HDBK-189).

    Args:
        times: Failure times from the start of the phase, ascending, 2 or more. Shape: (N,).
        end: End of the observation; required when time-terminated, otherwise the last failure.
        termination: ``"time"`` (also while the observation goes on) or ``"failure"``; never guessed from ``end``.
        confidence: Two-sided, in (0, 1).

    Raises:
        ValueError: An argument is out of its range.
    """
    t = failure_times(times, minimum=2)
    check_options(confidence, termination)
    n, t_end = len(t), end_of(t, end, termination)
    log_sum = _log_sum(t, t_end)
    by_time = termination == "time"
    beta = n / log_sum
    unbiased = (n - 1 if by_time else n - 2) / n * beta
    degrees = 2 * n if by_time else 2 * (n - 1)
    tail = (1 - confidence) / 2
    factors = time_terminated_factors if by_time else failure_terminated_factors
    lower, upper = factors(n, confidence)
    mtbf = t_end / (n * beta)
    statistic = 2 * log_sum
    return CrowAmsaa(
        failures=n,
        end=t_end,
        termination=termination,
        confidence=confidence,
        beta=beta,
        beta_unbiased=unbiased,
        beta_lower=beta * chi_squared.quantile(tail, degrees) / (2 * n),
        beta_upper=beta * chi_squared.upper_quantile(tail, degrees) / (2 * n),
        lambda_=n / t_end**beta,
        mtbf=mtbf,
        lower=lower * mtbf,
        upper=upper * mtbf,
        mtbf_cumulative=t_end / n,
        cramer_von_mises=_cramer_von_mises(t if by_time else t[:-1], t_end, unbiased) if unbiased > 0 else None,
        trend_p=min(1.0, 2 * float(min(chi_squared.cdf(statistic, degrees), chi_squared.survival(statistic, degrees)))),
    )


@dataclass(frozen=True, kw_only=True)
class NistPowerLaw:
    """NIST's modified maximum likelihood of the power law, time-terminated (e-Handbook 8.4.5.2)."""

    slope: float
    """Growth slope, 1 - b."""
    a: float
    b: float
    mtbf: float
    """At the end of the observation."""
    lower: float
    upper: float


def nist_power_law(times: ArrayLike, end: float, confidence: float = 0.8) -> NistPowerLaw:
    """Fit the power law as the NIST e-Handbook 8.4.5.2 does: slope = 1 - (r-1)/Σ ln(T/tᵢ).

    Args:
        times: Failure times, ascending, 2 or more. Shape: (r,).
        end: End of the observation.
        confidence: Two-sided, in (0, 1).

    Raises:
        ValueError: An argument is out of its range, or there are too few failures for an upper bound.
    """
    from scipy.special import ndtri

    t = failure_times(times, minimum=2)
    check_options(confidence, "time")
    r, t_end = len(t), end_of(t, end, "time")
    b = (r - 1) / _log_sum(t, t_end)
    mtbf = t_end / (r * b)
    z = -float(ndtri((1 - confidence) / 2))
    upper_root = r - z * math.sqrt(r / 2)
    if upper_root <= 0:
        raise ValueError(f"{r} failures are too few for a {confidence:.0%} interval; lower the confidence")
    return NistPowerLaw(
        slope=1 - b,
        a=r / t_end**b,
        b=b,
        mtbf=mtbf,
        lower=mtbf * r * (r - 1) / (r + z**2 / 4 + math.sqrt(r * z**2 / 2 + z**4 / 16)) ** 2,
        upper=mtbf * r * (r - 1) / upper_root**2,
    )


@dataclass(frozen=True, kw_only=True)
class LaplaceTrend:
    """Laplace's test for a trend."""

    statistic: float
    """Standard normal without a trend; negative when failures become rarer."""
    p: float
    """Two-sided."""


def laplace_trend(times: ArrayLike, end: float) -> LaplaceTrend:
    """Test "no trend" with U = (mean(tᵢ) - T/2) / (T / √(12 n)), time-terminated.

    Args:
        times: Failure times, ascending, 1 or more. Shape: (n,).
        end: End of the observation.

    Raises:
        ValueError: An argument is out of its range.
    """
    from scipy.special import ndtr

    t = failure_times(times, minimum=1)
    t_end = end_of(t, end, "time")
    u = float((np.mean(t) - t_end / 2) / (t_end / math.sqrt(12 * len(t))))
    return LaplaceTrend(statistic=u, p=float(2 * ndtr(-abs(u))))


def _log_sum(t: NDArray[np.float64], t_end: float) -> float:
    total = float(np.sum(np.log(t_end / t)))
    if total <= 0:
        raise ValueError(f"all failures lie at the end of the observation, {t_end}; β is not defined")
    return total


def _cramer_von_mises(t: NDArray[np.float64], t_end: float, beta: float) -> float:
    m = len(t)
    i = np.arange(1, m + 1)
    return float(1 / (12 * m) + np.sum(((t / t_end) ** beta - (2 * i - 1) / (2 * m)) ** 2))
