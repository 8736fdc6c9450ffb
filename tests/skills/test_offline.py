"""Learning from stored steps alone: no actions that nobody took, better than what was done, and online from there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sac_kit import draw, filled, learner

from persistence.replay import ReplayBuffer
from skills.learners.config import SacConfig
from skills.learners.offline import STRETCH, ImplicitValues, advising, shown
from skills.learners.sac import SacLearner
from skills.policy import MlpPolicy

torch.set_num_threads(1)

DISCOUNT = 0.9
MOST = 0.5
"""Largest action that was ever tried."""


def tried_a_little(seed=0):
    """A step earns its action: up to `MOST` by what is stored, where on average nothing is earned."""
    rng, replay = np.random.default_rng(seed), ReplayBuffer(3000, 1, 1, 1)
    for _ in range(60):
        done = rng.uniform(-MOST, MOST, (20, 1))
        replay.add_episode(rng.standard_normal((21, 1)), done, done, np.zeros((20, 1), bool))
    return replay


def taught(offline, updates=1500, replay=None, prior=0.0, shown=None):
    settings = SacConfig(hidden=(32, 32), batch=64, learning_rate=3e-3, tau=0.02, discount=DISCOUNT, offline=offline)
    subject = SacLearner(replay or tried_a_little(), np.zeros((1, 1)), np.full((1, 1), prior), settings, shown=shown)
    return subject, subject.update(updates, offline=True)


def action_of(subject, prior=0.0):
    act = MlpPolicy(subject.snapshot()).act
    return float(np.mean([act(np.array([s]), np.zeros(1), np.array([prior]))[0] for s in np.linspace(-1, 1, 9)]))


class TestFixedData:
    def test_plain_updates_end_where_nobody_was(self):
        subject, figures = taught("sac")
        assert action_of(subject) > 1.6 * MOST
        assert figures["q_mean"] > MOST / (1 - DISCOUNT), "more than the best stored action would earn for ever"

    @pytest.mark.parametrize("offline", ["held", "iql"])
    def test_held_to_what_is_stored_it_does_better_than_that_and_believes_no_more(self, offline):
        subject, figures = taught(offline)
        assert 0.5 * MOST < action_of(subject) < 1.4 * MOST
        assert 0 < figures["q_mean"] < MOST / (1 - DISCOUNT)

    def test_held_to_its_prior_it_stays_there_where_the_data_are_of_others(self):
        """Others only ever went the other way, which earned less the further they went."""
        rng, replay = np.random.default_rng(0), ReplayBuffer(3000, 1, 1, 1)
        for _ in range(60):
            done = rng.uniform(-0.9, -0.3, (20, 1))
            replay.add_episode(rng.standard_normal((21, 1)), done, done, np.zeros((20, 1), bool))
        to_prior, to_done = (
            action_of(taught("held", 1500, replay, prior=0.3, shown=np.array([show]))[0], 0.3) for show in (False, True)
        )
        assert to_prior > 0.2
        assert to_done < to_prior - 0.1

    @pytest.mark.parametrize("offline", ["held", "iql"])
    def test_more_updates_do_not_lead_away(self, offline):
        subject, _ = taught(offline)
        early = action_of(subject)
        subject.update(3000, offline=True)
        assert action_of(subject) == pytest.approx(early, abs=0.2 * MOST)

    def test_attempts_go_on_with_the_same_networks_and_may_leave_the_stored_actions(self):
        subject, _ = taught("iql")
        before = subject.snapshot().to_flat()
        subject.update(1)
        assert np.abs(subject.snapshot().to_flat() - before).max() < 0.02, "one step of the optimiser"
        subject.update(1500)
        assert action_of(subject) > 1.5 * MOST


class TestImplicitValues:
    @pytest.mark.parametrize("expectile", [0.5, 0.9])
    def test_value_is_the_expectile_of_q(self, expectile):
        """Q is 0 or 1 equally often: tau (1 - V) = (1 - tau) V, so V = tau."""
        subject = learner(batch=64, discount=0.9)
        (minibatch,) = draw(subject)
        settings = SacConfig(hidden=(16,), batch=64, expectile=expectile, learning_rate=1e-2)
        values = ImplicitValues(subject._sampler.input_width, settings, torch.Generator().manual_seed(0))
        minibatch.inputs[:, :] = 0.5
        q = torch.arange(64.0) % 2
        for _ in range(500):
            target = values.target(minibatch, q)
        torch.testing.assert_close(target, minibatch.reward + minibatch.discount * expectile, atol=0.02, rtol=0)

    def test_same_seed_and_data_give_the_same_bits(self):
        first, second = (learner(seed=3, offline="iql") for _ in range(2))
        for subject in (first, second):
            subject.update(10, offline=True)
        assert first.snapshot().sha256 == second.snapshot().sha256


def test_a_script_is_followed_before_what_was_done():
    (minibatch,) = draw(learner(filled(advice=True), imitation=1.0, batch=64))
    done = minibatch.inputs[64:128, :2]
    held = advising(minibatch, done)
    advised = minibatch.advised > 0
    assert advised.any() and not advised.all() and (held.advised == 1).all()
    torch.testing.assert_close(held.advice[advised], minibatch.advice[advised])
    torch.testing.assert_close(held.advice[~advised], done[~advised])


class TestShown:
    def test_the_best_hundredth_counts_and_a_stretch_by_its_mean(self):
        """Of 200 stretches three are good for the first skill; the second has single good steps only."""
        rewards = np.full((200 * STRETCH, 2), -1.0, np.float32)
        rewards[: 3 * STRETCH, 0] = 0.6
        rewards[::STRETCH, 1] = 5.0
        assert shown([rewards], 2).tolist() == [True, False]
        assert shown([rewards[3 * STRETCH :]], 2).tolist() == [False, False]

    def test_short_attempts_count_whole_and_nothing_shows_nothing(self):
        assert shown([np.ones((3, 1), np.float32)], 1).tolist() == [True]
        assert shown([], 2).tolist() == [False, False]


def test_unknown_ways_are_refused():
    with pytest.raises(ValueError, match="offline is 'cql'; it must be sac, held or iql"):
        SacConfig(offline="cql")
