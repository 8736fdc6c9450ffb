"""Rewards learned from examples and from preferences say what the person meant, on attempts that nobody judged."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest

from skills.learned_reward import Source
from skills.learners.rewards import (
    UNKNOWN,
    PreferenceConfig,
    Shown,
    doubt,
    earned,
    learn_examples,
    learn_preferences,
)
from skills.learners.success import SuccessConfig

WIDTH, WANTED = 6, 2
"""Of the features only one counts for the person of these tests."""
QUICK = PreferenceConfig(hidden=(16,), updates=150)


def attempt(level, rng, steps=40, ended=False, longest=40):
    """An attempt with so much of what the person wants, on average; the other features say nothing."""
    rows = rng.normal(size=(steps, WIDTH)).astype(np.float32)
    rows[:, WANTED] += level
    return Shown.of(rows, np.ones(steps, np.bool_), ended, longest)


def compared(pairs, seed=0):
    """Attempts, two for each pair, and which are better."""
    rng = np.random.default_rng(seed)
    levels = rng.uniform(-1.0, 1.0, 2 * pairs)
    attempts = [attempt(level, rng) for level in levels]
    order = [
        (a, b) if levels[a] > levels[b] else (b, a)
        for a, b in zip(range(0, 2 * pairs, 2), range(1, 2 * pairs, 2), strict=True)
    ]
    return attempts, order


@pytest.fixture(scope="module")
def learned():
    return learn_preferences(*compared(30), QUICK)


class TestPreferences:
    def test_what_is_preferred_earns_more_step_by_step(self, learned):
        rows = np.random.default_rng(9).normal(size=(2000, WIDTH)).astype(np.float32)
        given = learned.weights.rewards(rows)
        with_each = [abs(np.corrcoef(given, rows[:, column])[0, 1]) for column in range(WIDTH)]
        assert np.argmax(with_each) == WANTED
        assert np.corrcoef(given, rows[:, WANTED])[0, 1] > 0.7

    def test_fresh_attempts_are_put_in_the_right_order(self, learned):
        rng = np.random.default_rng(5)
        worth = [earned(learned.weights, attempt(level, rng)).mean() for level in np.linspace(-1, 1, 9)]
        assert np.mean([a < b for a, b in pairwise(worth)]) >= 0.8

    def test_it_says_how_well_it_foretells_pairs_of_other_attempts(self, learned):
        assert learned.held_out == 30
        assert 0.7 <= learned.weights.held_out_accuracy <= 1.0
        assert learned.weights.source is Source.PREFERENCES

    def test_preferences_by_lot_are_not_foretold(self):
        attempts, pairs = compared(40, seed=1)
        rng = np.random.default_rng(2)
        by_lot = [pair if rng.random() < 0.5 else pair[::-1] for pair in pairs]
        assert learn_preferences(attempts, by_lot, QUICK).weights.held_out_accuracy < 0.7

    def test_where_all_pairs_share_an_attempt_nothing_can_be_held_out(self):
        attempts, _ = compared(10)
        told = learn_preferences(attempts, [(i, 0) for i in range(1, 12)], QUICK)
        assert (told.held_out, told.weights.held_out_accuracy) == (0, UNKNOWN)

    def test_each_member_has_unit_variance_over_what_it_saw(self, learned):
        attempts, _ = compared(30)
        rows = np.concatenate([each.rows for each in attempts])
        alone = dataclasses.replace(learned.weights, caution=0.0)
        for member in range(3):
            one = tuple((w[member : member + 1], b[member : member + 1]) for w, b in alone.layers)
            out = dataclasses.replace(alone, layers=one).log_odds(rows)
            assert (out.mean(), out.std()) == (pytest.approx(0.0, abs=1e-3), pytest.approx(1.0, abs=1e-3))

    def test_the_same_pairs_teach_the_same(self):
        first, second = (learn_preferences(*compared(10), QUICK).weights.to_bytes() for _ in range(2))
        assert first == second

    def test_too_few_pairs_are_refused(self):
        attempts, pairs = compared(9)
        with pytest.raises(ValueError, match=r"9 pairs are too few.*at least 10"):
            learn_preferences(attempts, pairs, QUICK)

    def test_broken_readings_are_no_reward(self):
        attempts, pairs = compared(10)
        broken = [Shown(rows=np.full_like(each.rows, np.nan), shares=each.shares) for each in attempts]
        with pytest.raises(ValueError, match="finite"):
            learn_preferences(broken, pairs, QUICK)

    @pytest.mark.parametrize("wrong", [{"folds": 1}, {"folds": 11}, {"mistaken": 1.0}])
    def test_settings_that_cannot_work_are_refused(self, wrong):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            PreferenceConfig(**wrong)


class TestShares:
    ROWS = np.zeros((4, WIDTH), np.float32)

    def test_every_step_counts_alike(self):
        assert Shown.of(self.ROWS, np.ones(4, np.bool_), False, 10).shares == pytest.approx([0.25] * 4)

    def test_what_the_tracker_did_not_see_does_not_count(self):
        seen = np.array([True, False, True, False])
        assert Shown.of(self.ROWS, seen, False, 10).shares == pytest.approx([0.5, 0.0, 0.5, 0.0])
        with pytest.raises(ValueError, match="tracker"):
            Shown.of(self.ROWS, np.zeros(4, np.bool_), False, 10)

    def test_an_end_goes_on_for_as_long_as_the_longest_attempt(self):
        """Or an early fall would be as good as a walk."""
        assert Shown.of(self.ROWS, np.ones(4, np.bool_), True, 10).shares == pytest.approx([0.1, 0.1, 0.1, 0.7])


class TestDoubt:
    def test_members_that_contradict_each_other_doubt_most(self):
        first = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
        second = np.array([[2.0, -2.0, 2.0], [2.0, 2.0, 2.0], [0.0, 0.0, 0.0]])
        found = doubt(first, second)
        assert found[0] > 0.4
        assert found[1:] == pytest.approx([0.0, 0.0], abs=1e-3)

    def test_the_order_of_a_pair_does_not_matter(self):
        first, second = np.random.default_rng(0).normal(size=(2, 20, 3))
        np.testing.assert_allclose(doubt(first, second), doubt(second, first), atol=1e-12)


class TestExamples:
    QUICK = SuccessConfig(hidden=(16,), ensemble=2, updates=200)

    @staticmethod
    def examples(level, count, rng):
        """Attempts that begin at 0 and go to a level."""
        way = np.linspace(0.0, 1.0, 30)[:, None]
        noise = 0.1 * rng.normal(size=(count, 30, WIDTH))
        return [(rows + level * way * (np.arange(WIDTH) == WANTED)).astype(np.float32) for rows in noise]

    def test_the_nearer_to_the_goal_the_more_it_earns(self):
        rng = np.random.default_rng(0)
        good, bad = self.examples(2.0, 20, rng), self.examples(-1.0, 20, rng)
        weights = learn_examples(good, bad, self.QUICK)
        rows = np.zeros((5, WIDTH), np.float32)
        rows[:, WANTED] = (-1.0, 0.0, 1.0, 1.5, 2.0)
        assert (np.diff(weights.rewards(rows)[1:]) > 0.0).all()
        assert weights.rewards(rows[-1:])[0] > 0.5
        assert weights.source is Source.EXAMPLES
        assert weights.held_out_accuracy == 1.0
        everything = np.concatenate([*good, *bad])
        out = dataclasses.replace(weights, caution=0.0).log_odds(everything)
        assert 0.5 < out.std() <= 1.01
