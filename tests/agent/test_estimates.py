"""Intervals of a share and of an interquartile mean: by hand, and by how often they hold what is true."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.estimates import interquartile_mean, iqm_interval, wilson


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # Brown, Cai and DasGupta (2001) give the formula; with z = 1.959964 these follow by hand.
        (10, 10, 10 / (10 + 3.841459), 1.0),
        (0, 10, 0.0, 3.841459 / (10 + 3.841459)),
        (5, 10, 0.236593, 0.763407),
    ],
)
def test_wilsons_interval_by_hand(successes, n, low, high):
    assert wilson(successes, n) == (pytest.approx(low, abs=1e-6), pytest.approx(high, abs=1e-6))


def test_of_nothing_nothing_is_known():
    assert wilson(0, 0) == (0.0, 1.0)


@given(st.integers(1, 300), st.data())
def test_it_holds_the_share_and_shrinks_with_confidence(n, data):
    successes = data.draw(st.integers(0, n))
    wide, narrow = wilson(successes, n, 0.99), wilson(successes, n, 0.5)
    assert 0.0 <= wide[0] <= narrow[0] <= successes / n <= narrow[1] <= wide[1] <= 1.0


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_it_misses_about_as_often_as_it_says(share):
    drawn = np.random.default_rng(0).binomial(60, share, 4000)
    missed = np.mean([not low <= share <= high for low, high in (wilson(int(each), 60) for each in drawn)])
    assert 0.02 < missed < 0.08


def test_the_bootstrap_holds_the_mean_of_the_middle_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    # Of a normal distribution the middle half has the mean itself, whatever its outliers.
    missed = 0
    for seed in range(200):
        low, high = iqm_interval(rng.normal(3.0, 2.0, 40), seed=seed)
        missed += not low <= 3.0 <= high
    assert 2 <= missed <= 24


def test_it_is_the_same_each_time_and_does_not_mind_one_outlier():
    values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    low, high = iqm_interval(values)
    assert (low, high) == iqm_interval(values)
    assert low < float(interquartile_mean(values)) < high
    assert iqm_interval([5.0] * 4) == (5.0, 5.0)
