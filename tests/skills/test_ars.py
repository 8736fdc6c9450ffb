"""Augmented random search: its step against hand-made numbers, whom it credits, resuming, and that it climbs."""

import json
import math

import numpy as np
import pytest

from persistence.replay import ReplayBuffer
from skills.learners.ars import ArsConfig, ArsLearner
from skills.learners.learner import AttemptSummary
from skills.policy import MlpPolicy

FEATURES, ACTIONS, HISTORY, COMMAND = 3, 2, 2, 2
SKILLS = ("walk", "turn")


def memory(skills=2):
    return ReplayBuffer(500, FEATURES, ACTIONS, skills, HISTORY)


def fill(replay, scale=1.0):
    rng = np.random.default_rng(7)
    steps = 60
    features = 5.0 + scale * rng.standard_normal((steps + 1, FEATURES))
    nothing = np.zeros((steps, replay.skills))
    replay.add_episode(features, np.zeros((steps, ACTIONS)), nothing, nothing > 0)


def search(replay=None, seed=0, skills=SKILLS, **settings):
    replay = memory(len(skills)) if replay is None else replay
    return ArsLearner(replay, skills, COMMAND, ArsConfig(**settings), seed)


def attempt(version, reward, skill=0, steps=100, fell=False):
    return AttemptSummary(
        skill=skill, policy_version=version, steps=steps, mean_reward=reward, mean_costs=np.zeros(0), fell=fell
    )


def of(learner, name):
    """Candidates of one skill."""
    return [weights for weights in learner.candidates() if weights.skill == name]


def output(weights, row):
    """Pre-tanh action at a feature row; the rows before it are others."""
    obs = np.concatenate((np.full(FEATURES, 123.0), row))
    action = MlpPolicy(weights).act(obs, np.full(COMMAND, 9.0), np.zeros(ACTIONS))
    return np.arctanh(action.astype(np.float64))


def credit_all(learner, reward_of, name="walk", skill=0):
    """Try every perturbation of one step once. Returns the rewards in the order of the tries."""
    rewards = []
    for _ in range(2 * learner.config.directions):
        weights = of(learner, name)[1]
        rewards.append(reward_of(weights))
        learner.attempted(attempt(weights.version, rewards[-1], skill))
    return np.array(rewards)


class TestPolicies:
    def test_it_begins_at_the_prior_action(self):
        learner, prior = search(), np.array([0.3, -0.6])
        for name in SKILLS:
            action = MlpPolicy(of(learner, name)[0]).act(np.ones(FEATURES * HISTORY), np.zeros(COMMAND), prior)
            np.testing.assert_allclose(action, prior, atol=1e-6)

    def test_a_direction_is_tried_to_both_sides_of_the_policy(self):
        mean, plus, minus = of(search(noise=0.2), "walk")
        rows = np.random.default_rng(1).standard_normal((4, FEATURES))
        for row in rows:
            np.testing.assert_allclose(output(plus, row) + output(minus, row), 2 * output(mean, row), atol=1e-5)
            assert np.abs(output(plus, row)).max() > 0.01

    def test_only_the_newest_row_matters(self):
        _, plus, _ = of(search(), "walk")
        policy, row = MlpPolicy(plus), np.ones(FEATURES)
        one, other = (
            policy.act(np.concatenate((old, row)), np.zeros(COMMAND), np.zeros(ACTIONS)) for old in (row, -row)
        )
        np.testing.assert_array_equal(one, other)

    def test_exploration_noise_does_nothing(self):
        _, plus, _ = of(search(), "walk")
        policy, obs, zero = MlpPolicy(plus), np.ones(FEATURES * HISTORY), np.zeros(ACTIONS)
        noisy = policy.act(obs, np.zeros(COMMAND), zero, np.full(ACTIONS, 3.0))
        np.testing.assert_allclose(noisy, policy.act(obs, np.zeros(COMMAND), zero), atol=1e-3)

    def test_versions_belong_to_one_perturbation_of_one_skill_and_rise(self):
        learner, seen = search(directions=2, top=1), {}
        for _ in range(3):
            for weights in learner.candidates():
                flat = (weights.skill, weights.to_flat().tobytes())
                assert seen.setdefault(weights.version, flat) == flat
            newest = max(seen)
            credit_all(learner, lambda weights: 0.0)
            assert of(learner, "walk")[0].version > newest
        assert len(set(seen.values())) > 6


class TestNormaliser:
    def test_a_step_takes_the_moments_at_its_beginning(self):
        replay = memory()
        learner = search(replay, directions=1, top=1)
        fill(replay)
        np.testing.assert_array_equal(of(learner, "walk")[0].obs_mean, np.zeros(FEATURES * HISTORY))
        credit_all(learner, lambda weights: 0.0)
        _, mean, variance = replay.feature_moments()
        weights = of(learner, "walk")[0]
        np.testing.assert_allclose(weights.obs_mean, np.tile(mean, HISTORY), rtol=1e-6)
        np.testing.assert_allclose(weights.obs_std, np.tile(np.sqrt(variance), HISTORY), rtol=1e-6)
        np.testing.assert_array_equal(of(learner, "turn")[0].obs_mean, np.zeros(FEATURES * HISTORY))

    def test_a_feature_that_does_not_move_is_not_scaled_up(self):
        replay = memory()
        fill(replay, scale=1e-6)
        np.testing.assert_array_equal(of(search(replay), "walk")[0].obs_std, np.ones(FEATURES * HISTORY))

    def test_version_one_takes_features_as_they_are(self):
        replay = memory()
        fill(replay)
        weights = of(search(replay, normalise=False), "walk")[0]
        np.testing.assert_array_equal(weights.obs_mean, np.zeros(FEATURES * HISTORY))


class TestStep:
    def test_the_best_directions_make_the_step_scaled_by_their_spread(self):
        learner = search(directions=3, top=2, noise=0.5, step_size=0.2)
        deltas = learner._directions(0)
        # By the better side, the directions come as 3 (8), 1 (4), 2 (2); the spread is that of 4, 0, 8, 4.
        tried = iter([4.0, 0.0, 2.0, 1.0, 8.0, 4.0])
        credit_all(learner, lambda weights: next(tried))
        spread = math.sqrt(8.0)
        wanted = 0.2 / (2 * spread) * ((4.0 - 0.0) * deltas[0] + (8.0 - 4.0) * deltas[2])
        np.testing.assert_allclose(learner.state()[0]["policy"][0], wanted, rtol=1e-12)
        np.testing.assert_array_equal(learner.state()[0]["policy"][1], 0.0)

    def test_equal_rewards_move_nothing(self):
        learner = search()
        credit_all(learner, lambda weights: 0.7)
        assert not learner.state()[0]["policy"].any()
        assert learner.update(1)["search_steps.walk"] == 1.0

    def test_it_climbs(self):
        """The reward is highest where the first action's bias is 0.8 and that of the second -0.5."""
        learner = search(directions=8, top=4, noise=0.05, step_size=0.05, skills=("walk",))
        goal = np.array([0.8, -0.5])

        def reward(weights):
            return -float(np.linalg.norm(weights.layers[0][1][:ACTIONS] - goal))

        before = reward(of(learner, "walk")[0])
        for _ in range(120):
            credit_all(learner, reward)
        assert reward(of(learner, "walk")[0]) > 0.2 * before


class TestCredit:
    def test_what_came_late_or_from_elsewhere_is_passed_over(self):
        learner = search(directions=2, top=1)
        mean, first = of(learner, "walk")[:2]
        turned = of(learner, "turn")[1]
        for summary in (
            attempt(None, 1.0),
            attempt(mean.version, 1.0),
            attempt(turned.version, 1.0),
            attempt(first.version, 1.0, steps=10),
            attempt(first.version, math.nan),
        ):
            learner.attempted(summary)
        assert not learner.state()[0]["attempts"].any()
        credit_all(learner, lambda weights: float(weights.version))
        learner.attempted(attempt(first.version, 100.0))
        assert not learner.state()[0]["attempts"].any()

    def test_a_fall_counts_however_early(self):
        learner = search(directions=2, top=1)
        learner.attempted(attempt(of(learner, "walk")[1].version, -2.0, steps=10, fell=True))
        assert learner.state()[0]["attempts"].sum() == 1

    def test_a_perturbation_that_was_tried_twice_counts_by_its_mean(self):
        once, twice = search(directions=1, top=1), search(directions=1, top=1)
        _, plus, minus = of(once, "walk")
        for reward in (1.0, 3.0):
            twice.attempted(attempt(plus.version, reward))
        once.attempted(attempt(plus.version, 2.0))
        for learner in (once, twice):
            learner.attempted(attempt(minus.version, 0.5))
        np.testing.assert_array_equal(once.state()[0]["policy"], twice.state()[0]["policy"])

    def test_the_order_of_attempts_does_not_matter(self):
        one, other = search(directions=2, top=1), search(directions=2, top=1)
        versions = range(of(one, "walk")[0].version + 1, of(one, "walk")[0].version + 5)
        for learner, order in ((one, versions), (other, reversed(versions))):
            for version in order:
                learner.attempted(attempt(version, float(version**2)))
        np.testing.assert_array_equal(one.state()[0]["policy"], other.state()[0]["policy"])


class TestResuming:
    def test_a_restored_search_goes_on_as_if_it_had_not_stopped(self):
        replay = memory()
        whole = search(replay, seed=3)
        fill(replay)
        rng = np.random.default_rng(0)
        rewards = iter(rng.standard_normal(100))
        for _ in range(13):
            weights = of(whole, "walk")[1]
            whole.attempted(attempt(weights.version, next(rewards)))
        whole.update(5)
        arrays, meta = whole.state()
        resumed = search(replay, seed=99)
        resumed.load_state({name: array.copy() for name, array in arrays.items()}, json.loads(json.dumps(meta)))
        for _ in range(9):
            reward = next(rewards)
            for learner in (whole, resumed):
                learner.attempted(attempt(of(learner, "walk")[1].version, reward))
        assert resumed.updates == 5
        assert [w.to_bytes() for w in resumed.candidates()] == [w.to_bytes() for w in whole.candidates()]

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda arrays, meta: meta.update(kind="sac"),
            lambda arrays, meta: meta.update(directions=7),
            lambda arrays, meta: meta.pop("seed"),
            lambda arrays, meta: arrays.pop("policy"),
            lambda arrays, meta: arrays["policy"].fill(np.nan),
            lambda arrays, meta: arrays.update(steps=np.zeros(5, np.int64)),
        ],
    )
    def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(self, spoil):
        learner = search()
        credit_all(learner, lambda weights: float(weights.version % 3))
        before = [weights.to_bytes() for weights in learner.candidates()]
        arrays, meta = search(seed=5).state()
        spoil(arrays, meta)
        with pytest.raises(ValueError, match="learner state"):
            learner.load_state(arrays, meta)
        assert [weights.to_bytes() for weights in learner.candidates()] == before


class TestSettings:
    @pytest.mark.parametrize("bad", [{"directions": 0}, {"top": 9}, {"noise": 0.0}, {"step_size": math.inf}])
    def test_what_cannot_work_is_refused_by_name(self, bad):
        with pytest.raises(ValueError, match=next(iter(bad))):
            ArsConfig(**bad)

    def test_names_must_fit_the_memory(self):
        with pytest.raises(ValueError, match="2 skill names"):
            ArsLearner(memory(3), SKILLS, COMMAND)
