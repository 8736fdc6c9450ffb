"""A learned reward is bounded, the same for each step by itself, and refused where it does not fit."""

import dataclasses

import numpy as np
import pytest
from readings import SPEC, one_step, random_transition, reading, transition

from sim.a1 import a1_spec
from skills.gait import GAIT
from skills.learned_reward import LIMIT, LearnedReward, RewardWeights, Source, reward_rows, reward_width
from skills.pose_control import BODY

STEPS = random_transition(np.random.default_rng(0), 30)


def weights(source=Source.PREFERENCES, spec=SPEC, family=GAIT, seed=0, size=1.0):
    """Some networks."""
    rng, width = np.random.default_rng(seed), reward_width(spec, family, source)
    layers = tuple(
        (size * rng.normal(size=(3, a, b)).astype(np.float32), rng.normal(size=(3, 1, b)).astype(np.float32))
        for a, b in ((width, 8), (8, 1))
    )
    mean, std = np.zeros(width, np.float32), np.ones(width, np.float32)
    return RewardWeights(layers=layers, mean=mean, std=std, caution=0.5, source=source, held_out_accuracy=0.75)


@pytest.mark.parametrize("source", list(Source))
def test_each_step_is_judged_by_itself_and_within_bounds(source):
    reward = LearnedReward(SPEC, GAIT, weights(source))
    found = reward(STEPS)
    assert found.shape == (30,)
    assert np.abs(found).max() == LIMIT
    assert len(np.unique(found)) > 5
    np.testing.assert_array_equal(found, reward(STEPS))
    alone = [reward(one_step(STEPS, index))[0] for index in range(30)]
    np.testing.assert_allclose(alone, found, rtol=1e-4, atol=1e-4)
    assert reward(random_transition(np.random.default_rng(1), 0)).shape == (0,)


def test_what_members_do_not_agree_on_is_worth_less():
    w = weights(size=0.05)
    one = tuple((layer[:1].repeat(3, axis=0), bias[:1].repeat(3, axis=0)) for layer, bias in w.layers)
    agreed = dataclasses.replace(w, layers=one)
    rows = reward_rows(SPEC, GAIT, STEPS, Source.PREFERENCES)
    np.testing.assert_allclose(agreed.rewards(rows), dataclasses.replace(agreed, caution=9.0).rewards(rows), atol=1e-5)
    assert (w.rewards(rows) > dataclasses.replace(w, caution=2.0).rewards(rows)).any()


def test_a_goal_is_where_things_are_and_a_preference_may_be_for_how():
    """Two ways to the same reading: only a preference can tell them apart."""
    end = [reading(x=0.1)] * 2
    steps = transition([reading(x=0.1), reading(x=0.0)], end)
    goal, preferred = (reward_rows(SPEC, GAIT, steps, source) for source in Source)
    np.testing.assert_array_equal(goal[0], goal[1])
    assert preferred[1] - preferred[0] == pytest.approx(
        np.where(np.arange(preferred.shape[1]) == goal.shape[1], 0.1 / 0.04, 0.0), abs=1e-5
    )


def test_a_trackers_dropout_is_no_motion():
    steps = transition([reading(x=0.0, valid=False)], [reading(x=3.0)])
    assert not reward_rows(SPEC, GAIT, steps, Source.PREFERENCES)[0, GAIT.feature_size(SPEC) :][:3].any()


class TestBytes:
    @pytest.mark.parametrize("source", list(Source))
    def test_keep_everything(self, source):
        before = weights(source)
        again = RewardWeights.from_bytes(before.to_bytes())
        assert (again.source, again.held_out_accuracy, again.caution) == (source, 0.75, 0.5)
        np.testing.assert_array_equal(LearnedReward(SPEC, GAIT, again)(STEPS), LearnedReward(SPEC, GAIT, before)(STEPS))

    @pytest.mark.parametrize("length", [0, 7, 100, -1])
    def test_damaged_ones_are_refused(self, length):
        with pytest.raises(ValueError, match="reward bytes"):
            RewardWeights.from_bytes(weights().to_bytes()[:length])

    def test_so_is_a_source_that_nobody_knows(self):
        spoiled = weights(Source.EXAMPLES).to_bytes().replace(b"examples", b"rumour!!")
        with pytest.raises(ValueError, match="rumour!!"):
            RewardWeights.from_bytes(spoiled)

    def test_and_one_that_gives_several_rewards(self):
        (first, bias), w = weights().layers[0], weights()
        with pytest.raises(ValueError, match="not one"):
            dataclasses.replace(w, layers=((first, bias),))


class TestRefused:
    @pytest.mark.parametrize(("spec", "family"), [(a1_spec(), GAIT), (SPEC, BODY)])
    def test_those_of_another_robot_or_family(self, spec, family):
        with pytest.raises(ValueError, match="features"):
            LearnedReward(spec, family, weights())

    def test_those_of_another_source(self):
        mistaken = dataclasses.replace(weights(Source.EXAMPLES), source=Source.PREFERENCES)
        with pytest.raises(ValueError, match="features"):
            LearnedReward(SPEC, GAIT, mistaken)

    @pytest.mark.parametrize("field", ["mean", "held_out_accuracy", "layers"])
    def test_nan(self, field):
        w = weights()
        spoiled = {
            "mean": np.full_like(w.mean, np.nan),
            "held_out_accuracy": float("nan"),
            "layers": tuple((weight * np.float32("nan"), bias) for weight, bias in w.layers),
        }
        with pytest.raises(ValueError, match="NaN"):
            LearnedReward(SPEC, GAIT, dataclasses.replace(w, **{field: spoiled[field]}))
