"""Statistical self-tests: oracles that need no publication."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persistence.crow_bounds import product_cdf
from persistence.reliability import crow_amsaa, crow_amsaa_grouped, duane, laplace_trend, mtbf_interval

TIMES = [5, 40, 43, 175, 389, 712, 747, 795, 1299, 1478]


@pytest.mark.parametrize("mean", [1, 3, 10, 30])
def test_time_terminated_interval_covers_at_least_90_percent(mean: float) -> None:
    counts = np.random.default_rng(0).poisson(mean, 4000)
    covered = 0
    for count, times in zip(*np.unique(counts, return_counts=True), strict=True):
        result = mtbf_interval(mean, int(count), 0.9)
        covered += times * (result.lower <= 1 <= (result.upper or np.inf))
    assert covered / 4000 >= 0.9 - 0.01


@pytest.mark.parametrize("failures", [2, 10])
def test_failure_terminated_interval_is_exact(failures: int) -> None:
    exposures = np.random.default_rng(1).gamma(failures, 1.0, 4000)
    factors = mtbf_interval(1.0, failures, 0.9, "failure")
    covered = np.mean((exposures * factors.lower <= 1) & (exposures * factors.upper >= 1))
    assert covered == pytest.approx(0.9, abs=0.015)


def test_crow_time_terminated_coverage() -> None:
    rng, beta, mean = np.random.default_rng(2), 0.6, 15.0
    covered_beta, covered_mtbf, fits = 0, 0, 0
    for count in rng.poisson(mean, 600):
        if count < 2:
            continue
        times = np.sort(rng.random(count) ** (1 / beta))
        fit = crow_amsaa(times, 1.0, confidence=0.95)
        fits += 1
        covered_beta += fit.beta_lower <= beta <= fit.beta_upper
        covered_mtbf += fit.lower <= 1 / (mean * beta) <= fit.upper
    assert fits >= 594
    assert covered_beta / fits == pytest.approx(0.95, abs=0.025)
    assert 0.95 - 0.02 <= covered_mtbf / fits <= 0.95 + 0.035


def test_crow_failure_terminated_distribution_matches_simulation() -> None:
    rng, n = np.random.default_rng(3), 6
    product = rng.chisquare(2 * n, 40000) * rng.chisquare(2 * (n - 1), 40000)
    for y in (40.0, 100.0, 250.0):
        assert product_cdf(y, n) == pytest.approx(np.mean(product <= y), abs=0.01)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_units_do_not_matter(scale: float) -> None:
    fit, scaled = crow_amsaa(TIMES, 1500), crow_amsaa(np.array(TIMES) * scale, 1500 * scale)
    assert scaled.beta == pytest.approx(fit.beta, rel=1e-11)
    assert scaled.cramer_von_mises == pytest.approx(fit.cramer_von_mises, rel=1e-11)
    assert scaled.mtbf == pytest.approx(fit.mtbf * scale, rel=1e-10)
    assert scaled.lower == pytest.approx(fit.lower * scale, rel=1e-10)
    assert duane(np.array(TIMES) * scale).alpha == pytest.approx(duane(TIMES).alpha, rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    exposure=st.floats(1e-3, 1e6),
    failures=st.integers(0, 200),
    confidence=st.floats(0.01, 0.99),
    termination=st.sampled_from(["time", "failure"]),
)
def test_interval_holds_the_estimate_and_widens_with_confidence(
    exposure: float, failures: int, confidence: float, termination: str
) -> None:
    if failures == 0:
        termination = "time"
    result = mtbf_interval(exposure, failures, confidence, termination)
    wider = mtbf_interval(exposure, failures, confidence + 0.005, termination)
    assert wider.lower <= result.lower
    if result.mtbf is not None:
        assert result.upper <= wider.upper
        assert wider.lower < wider.upper
        if confidence > 0.5:
            assert result.lower <= result.mtbf <= result.upper


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0.01, 1.0), min_size=2, max_size=40), st.floats(1.01, 3.0))
def test_growth_fit_is_consistent(times: list[float], end: float) -> None:
    fit = crow_amsaa(sorted(times), end)
    assert fit.lambda_ * end**fit.beta == pytest.approx(len(times), rel=1e-9)
    assert fit.mtbf == pytest.approx(fit.mtbf_cumulative / fit.beta, rel=1e-9)
    assert fit.lower < fit.mtbf < fit.upper
    assert 0 <= fit.trend_p <= 1


def test_grouped_fit_approaches_the_exact_one() -> None:
    times = np.array([2.7, 10.3, 12.5, 30.6, 57, 61.3, 80, 109.5, 125, 128.6, 143.8, 167.9, 229.2, 296.7, 320.6])
    ends = np.arange(1, 4001) * 0.1
    counts = np.histogram(times, np.concatenate([[0], ends]))[0]
    assert crow_amsaa_grouped(ends, counts).beta == pytest.approx(crow_amsaa(times, 400.0).beta, rel=2e-3)


def test_gross_phase_change_trips_the_misfit_flag() -> None:
    times = [*np.linspace(1, 10, 10), *np.linspace(991, 1000, 10)]
    assert crow_amsaa(times, 1000).misfit
    assert not crow_amsaa(TIMES, 1500).misfit


def test_end_at_the_last_failure_is_not_guessed_to_be_failure_terminated() -> None:
    by_time = crow_amsaa(TIMES, TIMES[-1])
    by_failure = crow_amsaa(TIMES, TIMES[-1], termination="failure")
    assert by_time.termination == "time"
    assert by_time.beta_unbiased == pytest.approx(by_time.beta * 9 / 10)
    assert by_failure.beta_unbiased == pytest.approx(by_failure.beta * 8 / 10)


def test_laplace_sign() -> None:
    assert laplace_trend([1, 2, 3], 100).statistic < 0 < laplace_trend([97, 98, 99], 100).statistic
    assert laplace_trend([50], 100).p == pytest.approx(1.0)


def test_two_failures_at_failure_termination_have_no_unbiased_fit() -> None:
    assert crow_amsaa([1, 2], termination="failure").cramer_von_mises is None


@pytest.mark.parametrize(
    ("times", "end", "says"),
    [
        ([1, float("nan")], 3, "finite"),
        ([1, float("inf")], 3, "finite"),
        ([0, 1], 3, "more than 0"),
        ([-1, 1], 3, "more than 0"),
        ([[1, 2]], 3, "1-D"),
        ([2, 1], 3, "ascend"),
        ([1, 2], 1.5, "before the last failure"),
        ([1, 2], None, "needs its end"),
        ([1, 2], float("nan"), "finite"),
        ([1], 3, "too few"),
        ([], 3, "too few"),
        ([3, 3], 3, "not defined"),
    ],
)
def test_crow_rejects(times: object, end: float | None, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        crow_amsaa(times, end)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((0, 1), "exposure"),
        ((-1, 1), "exposure"),
        ((float("nan"), 1), "exposure"),
        ((1, -1), "failures"),
        ((1, 1.5), "failures"),
        ((1, 1, 0), "confidence"),
        ((1, 1, 1), "confidence"),
        ((1, 1, float("nan")), "confidence"),
        ((1, 1, 0.9, "clock"), "valid: 'time', 'failure'"),
        ((1, 1, 0.9, "time", 3), "valid: 1, 2"),
        ((1, 0, 0.9, "failure"), "at least 1 failure"),
    ],
)
def test_interval_rejects(arguments: tuple[float, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        mtbf_interval(*arguments)


@pytest.mark.parametrize(
    ("ends", "counts"),
    [([20], [3]), ([20, 10], [1, 1]), ([10, 20], [1, -1]), ([10, 20], [1, 0.5]), ([10, 20], [5, 0]), ([10, 20], [1])],
)
def test_grouped_rejects(ends: list[float], counts: list[float]) -> None:
    with pytest.raises(ValueError, match=r"counts|ascending"):
        crow_amsaa_grouped(ends, counts)
