"""Stored attempts for dynamics models: no window over an attempt's end or a bad step, no attempt on both sides."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_dynamics import attempt, attempts

from meta.transitions import AttemptSteps, Scales, Steps, split_by_attempt


def marked(number, valid):
    """An attempt whose states say which attempt and step they are of."""
    length = len(valid)
    states = np.stack((np.full(length + 1, number), np.arange(length + 1)), axis=1).astype(np.float32)
    return AttemptSteps(
        attempt=number, states=states, actions=np.ones((length, 1), np.float32), valid=np.array(valid, bool)
    )


class TestWindows:
    @settings(deadline=None)
    @given(st.lists(st.lists(st.booleans(), max_size=8), min_size=1, max_size=4), st.integers(1, 5))
    def test_are_all_runs_of_trusted_steps_within_an_attempt(self, trusted, length):
        steps = Steps([marked(number, valid) for number, valid in enumerate(trusted)])
        wanted = [
            (number, at)
            for number, valid in enumerate(trusted)
            for at in range(len(valid) - length + 1)
            if all(valid[at : at + length])
        ]
        found = steps.states[steps.starts(length)]
        assert [(int(number), int(at)) for number, at in found] == wanted
        np.testing.assert_array_equal(steps.states[steps.starts(length) + length, 0], found[:, 0])

    def test_actions_stand_beside_the_states_they_start_from(self):
        a, b = attempts(2, 5)
        steps = Steps([a, b])
        for at, action in zip(steps.starts(1), np.concatenate((a.actions, b.actions)), strict=True):
            np.testing.assert_array_equal(steps.actions[at], action)

    @pytest.mark.parametrize("row", [0, 3, 5])
    def test_leave_out_what_is_not_a_number_even_where_it_is_said_to_be_good(self, row):
        one = attempt(0, 5)
        one.states[row] = np.nan
        left = Steps([one]).starts(1)
        assert set(left) == set(range(5)) - {row, row - 1}

    def test_need_an_attempt(self):
        with pytest.raises(ValueError, match="at least one"):
            Steps([])


class TestScales:
    def test_by_hand(self):
        states = np.array([[0.0, 7.0], [1.0, 7.0], [4.0, 7.0]], np.float32)
        actions = np.array([[2.0], [4.0]], np.float32)
        scales = Scales.of(Steps([AttemptSteps(attempt=0, states=states, actions=actions, valid=np.ones(2, bool))]))
        np.testing.assert_allclose(scales.input_mean, (0.5, 7.0, 3.0))
        np.testing.assert_allclose(scales.input_std, (0.5, 1.0, 1.0))  # what is constant is not scaled
        np.testing.assert_allclose(scales.delta_mean, (2.0, 0.0))
        np.testing.assert_allclose(scales.delta_std, (1.0, 1.0))

    def test_need_a_trusted_step(self):
        with pytest.raises(ValueError, match="trusted step"):
            Scales.of(Steps([marked(0, [False, False])]))


class TestSplit:
    @settings(deadline=None)
    @given(st.sets(st.integers(0, 10_000), min_size=2, max_size=30), st.floats(0.01, 0.99), st.integers(0, 5))
    def test_both_sides_have_attempts_and_none_is_on_both(self, numbers, share, seed):
        whole = [marked(number, [True]) for number in numbers]
        learned, validated = ([a.attempt for a in side] for side in split_by_attempt(whole, share, seed))
        assert learned and validated
        assert sorted(learned + validated) == sorted(numbers)

    def test_no_attempt_changes_sides_as_others_come(self):
        whole = [marked(number, [True]) for number in range(300)]
        early, late = (split_by_attempt(whole[:n], 0.2, 1) for n in (100, 300))
        for before, after in zip(early, late, strict=True):
            assert {a.attempt for a in before} <= {a.attempt for a in after}
        assert 0.1 < len(late[1]) / 300 < 0.3

    def test_one_attempt_cannot_be_split(self):
        with pytest.raises(ValueError, match="two or more"):
            split_by_attempt([marked(3, [True])], 0.5, 0)
        with pytest.raises(ValueError, match="two or more"):
            split_by_attempt([marked(3, [True]), marked(3, [True]), marked(4, [True])], 0.5, 0)


def test_arrays_that_do_not_fit_together_are_refused():
    good = attempt(4, 5)
    for change in ({"states": good.states[1:]}, {"valid": good.valid[1:]}, {"actions": good.actions[:, 0]}):
        with pytest.raises(ValueError, match="attempt 4"):
            replace(good, **change)
