"""The policy that runs in the control loop: exact, quick, and whole after a round trip."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from skills.policy import PRIOR_LIMIT, MlpPolicy, PolicyWeights, layers_from_flat


def weights(sizes=(4, 8, 8, 6), obs=3, seed=0, version=5, scale=0.3):
    rng = np.random.default_rng(seed)
    count = sum(a * b + b for a, b in pairwise(sizes))
    return PolicyWeights(
        version=version,
        layers=layers_from_flat(rng.normal(0, scale, count).astype(np.float32), sizes),
        obs_mean=rng.normal(size=obs).astype(np.float32),
        obs_std=rng.uniform(0.5, 2, obs).astype(np.float32),
    )


class TestAct:
    def test_hand_computed_action(self):
        """One input, one command, one action, no hidden layer: tanh(0.5*2 - 1*3 + 0.25 + atanh(0.2) + e^-1 * 2)."""
        w = PolicyWeights(
            version=1,
            layers=((np.array([[0.5, 0.0], [-1.0, 0.0]], np.float32), np.array([0.25, -1.0], np.float32)),),
            obs_mean=np.array([1.0], np.float32),
            obs_std=np.array([2.0], np.float32),
        )
        act = MlpPolicy(w).act(np.array([5.0]), np.array([3.0]), np.array([0.2]), np.array([2.0]))
        assert act.shape == (1,)
        assert act[0] == pytest.approx(math.tanh(1.0 - 3.0 + 0.25 + math.atanh(0.2) + 2 / math.e), abs=1e-6)

    def test_zero_network_sends_the_prior(self):
        w = weights(scale=0.0)
        prior = np.array([0.3, -0.9, 0.0])
        np.testing.assert_allclose(MlpPolicy(w).act(np.ones(3), np.ones(1), prior), prior, atol=1e-6)

    def test_a_prior_at_the_limit_stays_finite(self):
        act = MlpPolicy(weights(scale=0.0)).act(np.ones(3), np.ones(1), np.array([1.0, -1.0, 0.0]))
        np.testing.assert_allclose(act, [PRIOR_LIMIT, -PRIOR_LIMIT, 0.0], atol=1e-6)

    def test_each_action_has_its_own_memory(self):
        """The loop keeps past actions; a later call must not change them."""
        policy = MlpPolicy(weights())
        first = policy.act(np.ones(3), np.ones(1), np.zeros(3))
        kept = first.copy()
        policy.act(-np.ones(3), np.zeros(1), np.zeros(3))
        assert np.array_equal(first, kept)

    def test_a_wild_observation_is_clipped(self):
        policy = MlpPolicy(weights())
        a, b = (policy.act(np.full(3, size), np.ones(1), np.zeros(3)) for size in (1e6, 1e30))
        assert np.array_equal(a, b)

    def test_nan_weights_are_refused(self):
        w = weights()
        w.layers[1][0][0, 0] = np.nan
        with pytest.raises(ValueError, match="version 5 holds NaN"):
            MlpPolicy(w)

    def test_p99_is_below_one_millisecond(self):
        """A network of the walking family's size on one core."""
        sizes = (194, 256, 256, 24)
        policy = MlpPolicy(weights(sizes, 192, scale=0.05))
        obs, command, prior, noise = np.ones(192), np.ones(2), np.zeros(12), np.ones(12)
        times = []
        for _ in range(3000):
            start = time.thread_time()
            policy.act(obs, command, prior, noise)
            times.append(time.thread_time() - start)
        # CPU time, since a test may share its core.
        assert np.quantile(times, 0.99) < 1e-3


class TestBytes:
    def test_round_trip_keeps_everything(self):
        w = weights()
        back = PolicyWeights.from_bytes(w.to_bytes())
        assert (back.version, back.sizes, back.obs_clip) == (5, (4, 8, 8, 6), w.obs_clip)
        assert np.array_equal(back.to_flat(), w.to_flat())
        assert np.array_equal(back.obs_std, w.obs_std)
        assert back.to_bytes() == w.to_bytes()

    def test_digest_sees_weights_and_normaliser_but_not_the_version(self):
        w = weights()
        assert replace(w, version=6).sha256 == w.sha256
        assert replace(w, obs_mean=w.obs_mean + 1).sha256 != w.sha256
        assert weights(seed=1).sha256 != w.sha256

    @pytest.mark.parametrize("keep", [0, 7, 100, -1])
    def test_truncated_bytes_are_refused(self, keep):
        with pytest.raises(ValueError, match="cannot be read"):
            PolicyWeights.from_bytes(weights().to_bytes()[:keep])

    def test_flat_parameters_come_back_in_order(self):
        (first, bias), (second, last) = layers_from_flat(np.arange(9, dtype=np.float32), (2, 2, 1))
        assert first.tolist() == [[0, 1], [2, 3]]
        assert (bias.tolist(), second.tolist(), last.tolist()) == ([4, 5], [[6], [7]], [8])

    def test_flat_of_wrong_length_is_refused(self):
        with pytest.raises(ValueError, match=r"need \(9,\)"):
            layers_from_flat(np.zeros(10, np.float32), (2, 2, 1))

    def test_layers_that_do_not_fit_are_refused(self):
        with pytest.raises(ValueError, match="feeds"):
            replace(weights(), layers=(weights().layers[0], weights((9, 6)).layers[0]))
