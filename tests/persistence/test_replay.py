"""The replay buffer gives back exactly what was put in, and never mixes episodes."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persistence.replay import MixedReplay, ReplayBuffer


def episode(number, steps, skills=2):
    """Rows hold (episode number, time), so that a stack tells where each of its rows came from."""
    clock = np.arange(steps + 1, dtype=np.float32)
    features = np.column_stack((np.full(steps + 1, number, np.float32), clock))
    tags = number * 1000 + clock[:-1]
    rewards = np.column_stack([tags + 100_000 * skill for skill in range(skills)])
    terminated = np.zeros((steps, skills), bool)
    terminated[-1, 0] = True
    return features, tags[:, None], rewards, terminated


def check(batch, history):
    """Every number of every drawn transition follows from its action's tag."""
    for obs, action, reward, next_obs, terminated, cost, advised, advice in zip(*batch, strict=True):
        number, step = divmod(int(action[0]), 1000)
        now = [max(step - back, 0) for back in reversed(range(history))]
        then = [max(step + 1 - back, 0) for back in reversed(range(history))]
        assert obs.reshape(history, 2).tolist() == [[number, t] for t in now]
        assert next_obs.reshape(history, 2).tolist() == [[number, t] for t in then]
        assert reward.tolist() == [action[0], action[0] + 100_000]
        assert terminated[1] == 0
        assert cost.tolist() == [action[0] / 2]
        assert advised.tolist() == [number % 2, 0]
        assert advice.tolist() == [-action[0] * (number % 2), 0]


def numbers(buffer, n=4000):
    """Share of a draw that each episode has."""
    drawn = buffer.sample(np.random.default_rng(0), n).action[:, 0] // 1000
    return {int(number): float(np.mean(drawn == number)) for number in np.unique(drawn)}


class TestFavour:
    def full(self, lengths, capacity=10_000, favoured=()):
        buffer = ReplayBuffer(capacity, 2, 1, 2)
        for number, steps in enumerate(lengths):
            if number in favoured:
                buffer.favour_new(0.5)
            buffer.add_episode(*episode(number, steps))
        return buffer

    def test_what_is_new_makes_its_share_of_each_draw(self):
        shares = numbers(self.full((900, 900, 500, 500), favoured=(2,)))
        # Half of a draw is favoured; of the rest, the new ones have their chance, 1000 of 2800.
        assert shares[2] + shares[3] == pytest.approx(0.5 + 0.5 * 1000 / 2800, abs=0.03)
        assert shares[2] == pytest.approx(shares[3], abs=0.03)
        assert shares[0] == pytest.approx(shares[1], abs=0.03)

    def test_a_little_that_is_new_has_less_of_it(self):
        assert numbers(self.full((900, 10), favoured=(1,)))[1] == pytest.approx(0.005 + 10 / 910, abs=0.01)

    def test_before_anything_is_new_draws_are_as_usual(self):
        buffer = self.full((50, 50))
        usual = buffer.sample(np.random.default_rng(1), 64)
        buffer.favour_new(1.0)
        np.testing.assert_array_equal(buffer.sample(np.random.default_rng(1), 64).action, usual.action)

    def test_what_was_favoured_is_drawn_no_more_or_as_everything_else(self):
        for drop, wanted in ((True, {0, 1, 4}), (False, {0, 1, 2, 3, 4})):
            buffer = self.full((30, 30, 30, 30), favoured=(2,))
            buffer.favour_none(drop=drop)
            buffer.add_episode(*episode(4, 30))
            shares = numbers(buffer)
            assert shares.keys() == wanted
            assert list(shares.values()) == pytest.approx([1 / len(wanted)] * len(wanted), abs=0.03)
            assert len(buffer) == 30 * len(wanted)

    def test_favoured_and_dropped_ones_are_evicted_like_others(self):
        buffer = self.full((30, 30, 30, 30), capacity=70, favoured=(1,))
        assert numbers(buffer).keys() == {2, 3}
        buffer.favour_none(drop=True)
        assert len(buffer) == 0
        for number in (4, 5, 6):
            buffer.add_episode(*episode(number, 30))
        assert numbers(buffer).keys() == {5, 6}
        assert buffer.steps == 60

    def test_a_share_that_is_none_is_refused(self):
        with pytest.raises(ValueError, match=r"share of new steps is 1\.5"):
            ReplayBuffer(10, 2, 1).favour_new(1.5)


class TestStack:
    def test_stack_is_oldest_first_and_clamped_to_the_first_row(self):
        """History 3 at step 1 of one episode: rows 0, 0, 1 now and 0, 1, 2 next."""
        buffer = ReplayBuffer(10, 2, 1, 2, history=3)
        features, actions, rewards, terminated = episode(7, 4)
        buffer.add_episode(features, actions, rewards, terminated, np.array([False, True, False, False]))
        batch = buffer.sample(np.random.default_rng(0), 1)
        assert batch.obs.tolist() == [[7, 0, 7, 0, 7, 1]]
        assert batch.next_obs.tolist() == [[7, 0, 7, 1, 7, 2]]

    @settings(max_examples=60, deadline=None)
    @given(
        lengths=st.lists(st.integers(1, 12), min_size=1, max_size=40),
        capacity=st.integers(12, 40),
        history=st.integers(1, 6),
        seed=st.integers(0, 2**32 - 1),
    )
    def test_no_stack_crosses_episodes_whatever_was_evicted(self, lengths, capacity, history, seed):
        """Random lengths, ring wraps and validity: each drawn transition is one that was stored, of its own episode."""
        rng = np.random.default_rng(seed)
        buffer = ReplayBuffer(capacity, 2, 1, 2, history, costs=1, advice=True)
        allowed = set()
        for number, steps in enumerate(lengths):
            valid = rng.random(steps) < 0.7
            arrays = episode(number, steps)
            told = np.stack((-arrays[1], np.full_like(arrays[1], np.nan)), axis=1) if number % 2 else None
            buffer.add_episode(*arrays, valid, arrays[1] / 2, told)
            allowed |= {number * 1000 + int(step) for step in np.flatnonzero(valid)}
            assert buffer.steps <= capacity
            if len(buffer):
                batch = buffer.sample(rng, 64)
                check(batch, history)
                assert {int(tag) for tag in batch.action[:, 0]} <= allowed


class TestRing:
    def test_oldest_episodes_leave_whole(self):
        """Capacity 10: after episodes of 4, 4 and 4 steps the first is gone, with all of its steps."""
        buffer = ReplayBuffer(10, 2, 1, 2)
        for number in range(3):
            buffer.add_episode(*episode(number, 4))
        assert (buffer.episodes, buffer.steps, len(buffer), buffer.steps_added) == (2, 8, 8, 12)
        tags = buffer.sample(np.random.default_rng(0), 500).action[:, 0].astype(int)
        assert set(tags.tolist()) == {1000, 1001, 1002, 1003, 2000, 2001, 2002, 2003}

    def test_termination_is_kept_per_skill_and_truncation_has_none(self):
        buffer = ReplayBuffer(10, 2, 1, 2)
        buffer.add_episode(*episode(0, 3))
        batch = buffer.sample(np.random.default_rng(1), 200)
        assert np.array_equal(batch.terminated[:, 0], batch.action[:, 0] == 2)
        assert not batch.terminated[:, 1].any()

    def test_draws_are_uniform_over_valid_steps(self):
        """Chi-square over 8 valid steps of 10: 99.9% of fair draws lie below 24.3 (7 degrees of freedom)."""
        buffer = ReplayBuffer(20, 2, 1, 2)
        valid = np.ones(10, bool)
        valid[[3, 7]] = False
        buffer.add_episode(*episode(0, 10), valid)
        counts = np.bincount(buffer.sample(np.random.default_rng(5), 8000).action[:, 0].astype(int), minlength=10)
        assert counts[3] == counts[7] == 0
        assert ((counts[valid] - 1000) ** 2 / 1000).sum() < 24.3


class TestMoments:
    def test_moments_are_those_of_all_valid_steps_ever_added(self):
        rng = np.random.default_rng(2)
        buffer = ReplayBuffer(30, 3, 1, 1)
        seen = []
        for steps in (5, 20, 17):
            features = rng.normal(5.0, 2.0, (steps + 1, 3))
            valid = rng.random(steps) < 0.6
            buffer.add_episode(features, np.zeros((steps, 1)), np.zeros((steps, 1)), np.zeros((steps, 1)), valid)
            seen.append(features[:-1][valid])
        count, mean, variance = buffer.feature_moments()
        rows = np.concatenate(seen)
        assert count == len(rows)
        np.testing.assert_allclose(mean, rows.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(variance, rows.var(axis=0), rtol=1e-12)


def constant(value, steps, capacity=400, **widths):
    """A buffer whose every number is ``value``, with two costs."""
    buffer = ReplayBuffer(capacity, **({"features": 3, "actions": 1, "skills": 2, "history": 2, "costs": 2} | widths))
    if steps:
        shapes = ((steps + 1, buffer.features), (steps, 1), (steps, 2), (steps, 2))
        costs = np.full((steps, buffer.costs), value)
        advice = np.full((steps, 2, 1), value) if buffer.advice else None
        buffer.add_episode(*(np.full(shape, value) for shape in shapes), costs=costs, advice=advice)
    return buffer


class TestMixture:
    @pytest.mark.parametrize(("share", "batch", "prior"), [(0.5, 256, 128), (0.25, 8, 2), (0.0, 10, 0), (1.0, 10, 10)])
    def test_the_share_is_kept_in_every_field_and_every_part_of_a_draw(self, share, batch, prior):
        """Recent rows hold 0, prior ones 1; the prior memory is fifty times as large, which must not matter."""
        drawn = MixedReplay(constant(0, 4), constant(1, 200), share).sample(np.random.default_rng(0), batch)
        from_prior = drawn.action[:, 0]
        assert from_prior.sum() == prior
        for field in drawn:
            assert np.array_equal(
                field, np.broadcast_to(from_prior[:, None], field.shape) if field.ndim > 1 else from_prior
            )
        for part in np.split(from_prior, 2):
            assert abs(part.sum() - prior / 2) <= 1

    def test_an_empty_memory_leaves_all_to_the_other(self):
        rng = np.random.default_rng(0)
        assert MixedReplay(constant(0, 0), constant(1, 9), 0.5).sample(rng, 20).action.min() == 1
        assert MixedReplay(constant(0, 9), constant(1, 0), 0.5).sample(rng, 20).action.max() == 0
        with pytest.raises(ValueError, match="no valid step"):
            MixedReplay(constant(0, 0), constant(1, 0), 0.5).sample(rng, 20)

    def test_what_is_added_later_is_drawn(self):
        recent = constant(0, 0)
        mixed = MixedReplay(recent, constant(1, 9), 0.5)
        assert len(mixed) == 9
        recent.add_episode(
            np.full((5, 3), 2), np.full((4, 1), 2), np.zeros((4, 2)), np.zeros((4, 2)), None, np.zeros((4, 2))
        )
        assert len(mixed) == 13
        assert set(mixed.sample(np.random.default_rng(0), 50).action[:, 0]) == {1, 2}

    def test_moments_are_those_of_both(self):
        """Six rows of 1 and two of 5: mean 2, variance (6 * 1 + 2 * 9) / 8 = 3."""
        count, mean, variance = MixedReplay(constant(1, 6), constant(5, 2), 0.5).feature_moments()
        assert count == 8
        np.testing.assert_allclose(mean, 2.0)
        np.testing.assert_allclose(variance, 3.0)
        assert MixedReplay(constant(1, 0), constant(5, 0), 0.5).feature_moments()[0] == 0

    def test_widths_are_those_of_the_parts_and_must_agree(self):
        mixed = MixedReplay(constant(0, 1), constant(0, 1), 0.5)
        assert (mixed.obs_width, mixed.actions, mixed.skills, mixed.costs) == (6, 1, 2, 2)
        with pytest.raises(ValueError, match="costs 2, prior data 1"):
            MixedReplay(constant(0, 1), constant(0, 1, costs=1), 0.5)
        with pytest.raises(ValueError, match=r"share .* 1\.5"):
            MixedReplay(constant(0, 1), constant(0, 1), 1.5)


class TestBadInput:
    def test_costs_must_be_given_where_they_are_kept_and_finite(self):
        buffer = ReplayBuffer(10, 2, 1, 2, costs=1)
        with pytest.raises(ValueError, match=r"costs .* \(4, 0\); \(4, 1\)"):
            buffer.add_episode(*episode(0, 4))
        with pytest.raises(ValueError, match=r"costs .* NaN"):
            buffer.add_episode(*episode(0, 4), costs=np.full((4, 1), np.nan))
        with pytest.raises(ValueError, match="costs is -1"):
            ReplayBuffer(10, 2, 1, 2, costs=-1)

    def test_empty_buffer_refuses_to_sample(self):
        buffer = ReplayBuffer(10, 2, 1, 2)
        buffer.add_episode(*episode(0, 3), np.zeros(3, bool))
        with pytest.raises(ValueError, match="no valid step"):
            buffer.sample(np.random.default_rng(0), 4)

    def test_longer_than_capacity_is_refused_and_nothing_is_lost(self):
        buffer = ReplayBuffer(5, 2, 1, 2)
        buffer.add_episode(*episode(0, 5))
        with pytest.raises(ValueError, match=r"6 steps.*capacity 5"):
            buffer.add_episode(*episode(1, 6))
        assert buffer.steps == 5

    @pytest.mark.parametrize("part", [0, 1, 2])
    def test_nan_is_refused_by_name(self, part):
        arrays = [array.astype(float) for array in episode(0, 4)]
        arrays[part][1, 0] = np.nan
        with pytest.raises(ValueError, match=("features", "actions", "rewards")[part]):
            ReplayBuffer(10, 2, 1, 2).add_episode(*arrays)

    def test_wrong_shape_names_both_shapes(self):
        features, actions, rewards, terminated = episode(0, 4)
        with pytest.raises(ValueError, match=r"features .* \(4, 2\); \(5, 2\)"):
            ReplayBuffer(10, 2, 1, 2).add_episode(features[:-1], actions, rewards, terminated)

    @pytest.mark.parametrize(("kept", "shape"), [(False, (4, 2, 1)), (True, (4, 2, 2)), (True, (4, 1, 1))])
    def test_advice_for_other_skills_or_actions_is_refused(self, kept, shape):
        buffer = ReplayBuffer(10, 2, 1, 2, advice=kept)
        with pytest.raises(ValueError, match="advice"):
            buffer.add_episode(*episode(1, 4), advice=np.zeros(shape))
        assert buffer.steps == 0

    def test_sizes_must_be_positive(self):
        with pytest.raises(ValueError, match="history is 0"):
            ReplayBuffer(10, 2, 1, 2, history=0)


@pytest.mark.slow
def test_sample_and_add_keep_their_time():
    """256 transitions of 4 x 48 features out of 200 000 steps in 150 us, adding below 3 us a step, of CPU time."""
    buffer, rng = ReplayBuffer(200_000, 48, 12, 4, 4), np.random.default_rng(0)
    arrays = (np.ones((251, 48), np.float32), np.zeros((250, 12)), np.zeros((250, 4)), np.zeros((250, 4)))
    adds, draws = [], []
    for _ in range(900):
        start = time.thread_time()
        buffer.add_episode(*arrays)
        adds.append((time.thread_time() - start) / 250)
    for _ in range(2000):
        start = time.thread_time()
        buffer.sample(rng, 256)
        draws.append(time.thread_time() - start)
    assert np.quantile(adds, 0.1) < 3e-6
    assert np.quantile(draws, 0.1) < 150e-6
