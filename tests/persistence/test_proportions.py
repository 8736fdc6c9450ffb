"""How far a share of successes can be trusted."""

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


def test_of_no_tries_nothing_is_known():
    assert proportion_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("arguments", [(3, 2), (-1, 2), (1, 2, 1.0), (1, 2, 0.0)])
def test_what_makes_no_sense_is_refused(arguments):
    with pytest.raises(ValueError, match="valid"):
        proportion_interval(*arguments)
