"""Tests of two samples against published examples and against SciPy."""

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from agent.two_samples import rank_sum, two_proportions

AT_TERM = (0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46)
EARLIER = (1.15, 0.88, 0.90, 0.74, 1.21)
"""Permeability of human chorioamnion (Hollander and Wolfe 1973, p. 69), with an exact one-sided p-value of 0.1272."""


def test_shares_of_a_published_poll():
    # Tax on cigarettes, 351 of 605 non-smokers and 41 of 195 smokers in favour: z = 8.99 (Penn State STAT 415, 9.4).
    assert two_proportions(351, 605, 41, 195) == pytest.approx(2.46e-19, rel=0.05)


@pytest.mark.parametrize(("z", "p"), [(1.959964, 0.05), (3.890592, 1e-4)])
def test_shares_give_the_quantiles_of_the_normal_distribution(z, p):
    n = 10**8
    off = z * (0.25 * 2 / n) ** 0.5 / 2
    assert two_proportions(round((0.5 + off) * n), n, round((0.5 - off) * n), n) == pytest.approx(p, rel=1e-3)


def test_equal_shares_do_not_differ():
    assert two_proportions(10, 20, 30, 60) == 1.0
    assert two_proportions(0, 20, 0, 60) == two_proportions(20, 20, 60, 60) == 1.0
    assert two_proportions(3, 30, 20, 30) == two_proportions(20, 30, 3, 30)


def test_ranks_of_a_published_example():
    assert rank_sum(AT_TERM, EARLIER) == pytest.approx(0.1272, abs=0.006)
    assert rank_sum(EARLIER, AT_TERM) > 0.85


@pytest.mark.parametrize("decimals", [0, 1, 8])
def test_ranks_agree_with_scipy_with_and_without_ties(decimals):
    rng = np.random.default_rng(decimals)
    for shift in (-1.0, 0.0, 0.5):
        x, y = np.round(rng.normal(shift, 1, 30), decimals), np.round(rng.normal(0, 1, 25), decimals)
        theirs = mannwhitneyu(x, y, alternative="greater", method="asymptotic").pvalue
        assert rank_sum(x, y) == pytest.approx(theirs, rel=1e-9)


def test_all_alike_is_no_difference():
    assert rank_sum([1.0] * 5, [1.0] * 7) == 1.0


@pytest.mark.parametrize("call", [lambda: rank_sum([], [1.0]), lambda: two_proportions(0, 0, 1, 2)])
def test_nothing_cannot_be_compared(call):
    with pytest.raises(ValueError, match="compared"):
        call()
