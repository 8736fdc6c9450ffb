"""How far a share of successes can be trusted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from persistence.proportions import proportion_interval


@given(st.integers(0, 60), st.integers(1, 60), st.sampled_from((0.8, 0.9, 0.95)))
def test_is_wilsons_interval(successes, n, confidence):
    successes = min(successes, n)
    expected = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    assert proportion_interval(successes, n, confidence) == pytest.approx((expected.low, expected.high), abs=1e-9)


@given(st.integers(1, 300), st.data())
def test_it_holds_the_share_and_grows_with_confidence(n, data):
    successes = data.draw(st.integers(0, n))
    wide, narrow = proportion_interval(successes, n, 0.99), proportion_interval(successes, n, 0.5)
    assert 0.0 <= wide[0] <= narrow[0] <= successes / n <= narrow[1] <= wide[1] <= 1.0


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_it_misses_about_as_often_as_it_says(share):
    drawn = np.random.default_rng(0).binomial(60, share, 4000)
    intervals = (proportion_interval(int(each), 60, 0.95) for each in drawn)
    assert 0.02 < np.mean([not low <= share <= high for low, high in intervals]) < 0.08


def test_of_no_tries_nothing_is_known():
    assert proportion_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("arguments", [(3, 2), (-1, 2), (1, 2, 1.0), (1, 2, 0.0)])
def test_what_makes_no_sense_is_refused(arguments):
    with pytest.raises(ValueError, match="valid"):
        proportion_interval(*arguments)
