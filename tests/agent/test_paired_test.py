"""The paired test: figures by hand, wrong verdicts of equals, and how often a real difference is found."""

import numpy as np
import pytest

from agent.paired_test import BOUND, FEWEST, LOOKS, paired

MOST = 100


def verdicts(rng, share, share_2, coupled, runs):
    """Share of comparisons that decide, for the first and for the second."""
    found = np.zeros(2)
    for _ in range(runs):
        u = rng.random(MOST)
        v = u if coupled else rng.random(MOST)
        first, second = u < share, v < share_2
        for n in range(MOST // LOOKS, MOST + 1, MOST // LOOKS):
            now = paired(first[:n].tolist(), second[:n].tolist(), MOST)
            if now.decided:
                found[0 if now.z > 0 else 1] += 1
                break
    return found / runs


def test_figures_by_hand():
    first = [True] * 12 + [False] * 8
    second = [True] * 3 + [False] * 9 + [True] * 0 + [False] * 8
    now = paired(first, second, MOST)
    assert (now.pairs, now.first_only, now.second_only) == (20, 9, 0)
    assert now.z == pytest.approx(3.0)
    assert now.bound == pytest.approx(BOUND * np.sqrt(5.0))  # the second look of ten
    assert not now.decided
    assert now.difference == pytest.approx(0.45)
    last = paired(first * 5, second * 5, MOST)
    assert (last.z, last.bound) == (pytest.approx(np.sqrt(45.0)), BOUND)
    assert last.decided
    low, high = last.interval
    assert 0.3 < low < 0.45 < high < 0.6


def test_the_bound_keeps_what_it_says():
    """Of normal sums looked at ten times, one in twenty reaches it."""
    rng = np.random.default_rng(0)
    sums = rng.standard_normal((40_000, LOOKS)).cumsum(axis=1)
    look = np.arange(1, LOOKS + 1)
    crossed = (np.abs(sums) / np.sqrt(look) >= BOUND * np.sqrt(LOOKS / look)).any(axis=1)
    assert crossed.mean() == pytest.approx(0.05, abs=0.004)


@pytest.mark.parametrize("share", [0.5, 0.8, 0.95])
def test_equals_are_told_apart_in_no_more_than_one_of_twenty(share):
    wrong = verdicts(np.random.default_rng(1), share, share, False, 1500).sum()
    assert wrong <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / 1500)


@pytest.mark.parametrize(("share", "share_2", "coupled"), [(1.0, 0.9, False), (0.6, 0.5, True), (0.9, 0.8, True)])
def test_ten_points_are_found_where_few_pairs_differ_by_chance(share, share_2, coupled):
    right, wrong = verdicts(np.random.default_rng(2), share, share_2, coupled, 400)
    assert right >= 0.8
    assert wrong == 0.0


def test_where_all_succeed_nothing_is_said_and_the_interval_is_narrow():
    now = paired([True] * MOST, [True] * MOST, MOST)
    assert (now.z, now.decided, now.difference) == (0.0, False, 0.0)
    assert -0.03 < now.interval[0] < 0.0 < now.interval[1] < 0.03


def test_between_looks_and_of_few_differences_nothing_is_said():
    between = paired([True] * 95, [False] * 95, MOST)
    assert not between.decided
    few = paired([True] * MOST, [False] * (FEWEST - 1) + [True] * (MOST - FEWEST + 1), MOST)
    assert abs(few.z) >= few.bound
    assert not few.decided


@pytest.mark.parametrize(("n", "n_2", "most"), [(0, 0, 10), (3, 4, 10), (11, 11, 10), (5, 5, 9)])
def test_what_are_no_pairs_is_refused(n, n_2, most):
    with pytest.raises(ValueError, match="no pairs"):
        paired([True] * n, [True] * n_2, most)
