"""Interquartile mean, its bootstrap interval and the probability of improvement, against numbers by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from agent.estimates import interquartile_mean
from benchmarks._statistics import estimate, probability_of_improvement


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([7.0], 7.0),
        ([1.0, 2.0, 3.0, 100.0], 2.5),
        # Of three, each end weighs 1/12 and the middle 1/3 out of 1/2: (1 + 4 * 2 + 6) / 6.
        ([6.0, 1.0, 2.0], 2.5),
        # Of five, the outer ones weigh nothing, the next 3/20 and the middle 1/5: 0.3 * 2 + 0.4 * 3 + 0.3 * 5.
        ([9.0, 1.0, 5.0, 2.0, 3.0], 3.3),
        ([1.0, 2.0, 3.0, math.inf], 2.5),
        ([-math.inf, 2.0, 3.0, math.inf], 2.5),
        ([1.0, 2.0, math.inf], math.inf),
    ],
)
def test_interquartile_mean_by_hand(values, expected):
    assert interquartile_mean(values) == pytest.approx(expected)


def test_interquartile_mean_is_the_trimmed_mean_where_a_quarter_is_a_whole_number():
    values = np.random.default_rng(0).standard_normal((5, 40))
    assert interquartile_mean(values) == pytest.approx(stats.trim_mean(values, 0.25, axis=-1))


def test_equal_runs_leave_no_interval():
    figure = estimate([[3.0, 3.0, 3.0]])
    assert (figure.iqm, figure.low, figure.high, figure.median, figure.worst, figure.runs) == (3, 3, 3, 3, 3, 3)


def test_worst_run_follows_the_direction():
    assert estimate([[1.0, 2.0, 3.0]], "higher").worst == 1.0
    assert estimate([[1.0, 2.0, 3.0]], "lower").worst == 3.0


def test_interval_of_two_runs_is_their_range():
    # A quarter of the resamples is all low and a quarter all high, far more than 2.5 %.
    figure = estimate([[1.0, 5.0]])
    assert (figure.iqm, figure.low, figure.high) == (3.0, 1.0, 5.0)


def test_resamples_stay_within_their_task():
    # Each task's two runs agree, so nothing can vary; mixed between tasks they would.
    figure = estimate([[1.0, 1.0], [5.0, 5.0]])
    assert (figure.low, figure.iqm, figure.high) == (3.0, 3.0, 3.0)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = 0
    for seed in range(150):
        figure = estimate([rng.standard_normal(20)], seed=seed)
        covered += figure.low <= 0.0 <= figure.high
    assert 0.87 <= covered / 150 <= 0.99


def test_a_run_that_never_came_is_the_worst_and_opens_the_interval():
    figure = estimate([[10.0, 11.0, 12.0, 13.0, math.inf]], "lower")
    assert figure.iqm == pytest.approx(0.3 * 11 + 0.4 * 12 + 0.3 * 13)
    assert (figure.worst, figure.high) == (math.inf, math.inf)
    assert figure.low < figure.iqm


def test_probability_of_improvement_by_hand():
    # Pairs above: 2 > 1; equal: 1 = 1; below: 1 < 3, 2 < 3. (1 + 1/2) / 4.
    figure, low, high = probability_of_improvement([[1.0, 2.0]], [[1.0, 3.0]])
    assert figure == pytest.approx(0.375)
    assert low <= figure <= high
    assert probability_of_improvement([[5.0, 6.0]], [[1.0, 2.0]]) == (1.0, 1.0, 1.0)


def test_probability_of_improvement_is_the_mean_over_tasks():
    assert probability_of_improvement([[5.0], [1.0, 1.0]], [[1.0, 2.0], [2.0]])[0] == 0.5


def test_probability_of_improvement_is_mann_and_whitneys_statistic():
    rng = np.random.default_rng(2)
    mine, theirs = rng.integers(0, 9, 12).astype(float), rng.integers(0, 9, 7).astype(float)
    expected = stats.mannwhitneyu(mine, theirs).statistic / (12 * 7)
    assert probability_of_improvement([mine], [theirs])[0] == pytest.approx(expected)


@pytest.mark.parametrize(("strata", "part"), [([], r"\[\]"), ([[1.0], []], r"\[1, 0\]"), ([[1.0, math.nan]], "NaN")])
def test_runs_without_a_figure_are_refused(strata, part):
    with pytest.raises(ValueError, match=part):
        estimate(strata)


def test_unequal_tasks_are_refused():
    with pytest.raises(ValueError, match="1 tasks against 2"):
        probability_of_improvement([[1.0]], [[1.0], [2.0]])
