"""The undo critic: success foretold by place, and quiet where too little is known."""

import dataclasses

import numpy as np
import pytest
from arm_readings import reading

from sim.kuka import kuka_spec
from sim.minitaur import minitaur_spec
from sim.robot import FrameLayout
from skills.carry import CARRYING_SKILLS
from skills.gait import GAIT
from skills.hand_control import HAND_FAMILY
from skills.learners.undo import UndoConfig, UndoLearner
from skills.undo_critic import UndoCritic, UndoCriticWeights, success_probabilities, timeless_features

SPEC = kuka_spec()
LAYOUT = FrameLayout.of(SPEC)
OUT, HOME = CARRYING_SKILLS
EDGE_M = 0.1
"""Beyond this y the skills of these tests never succeed; before it they mostly do."""
CONFIG = UndoConfig(hidden=(16, 16), ensemble=3, least_attempts=10)


def frames(*places_m):
    """An object at each y in turn."""
    return np.stack([LAYOUT.pack(reading(thing=(0.55, y, 0.04, 0.0))) for y in places_m])


def features(*places_m):
    return timeless_features(SPEC, HAND_FAMILY, frames(*places_m))


def calm(learner, *places_m):
    """Attempts enough that lost nothing."""
    for _ in range(CONFIG.least_attempts):
        learner.passed(features(*places_m))


@pytest.fixture(scope="module")
def weights():
    rng = np.random.default_rng(0)
    learner = UndoLearner((HOME.name, "other"), features(0.0).shape[1], CONFIG)
    for _ in range(200):
        y = rng.uniform(-0.2, 0.2)
        learner.tried(HOME.name, features(*np.linspace(y, y + 0.01, 5)), success=y < EDGE_M and rng.random() < 0.9)
        learner.tried("other", features(y), success=True)
    calm(learner, -0.1, 0.0)
    learner.update(800)
    return learner.snapshot()


def test_success_is_foretold_by_place_and_skill(weights):
    home, other = success_probabilities(weights, features(-0.1, 0.0, 0.18)).T
    assert home[0] > 0.7
    assert home[1] > 0.7
    assert home[2] < 0.15
    assert other.min() > 0.8


def test_hopeless_is_where_a_skill_hardly_ever_succeeds(weights):
    critic = UndoCritic(SPEC, HAND_FAMILY, weights)
    assert critic.hopeless(reading(thing=(0.55, 0.18, 0.04, 0.0))) == {HOME.name}
    assert critic.hopeless(reading(thing=(0.55, 0.0, 0.04, 0.0))) == frozenset()


def test_with_few_attempts_nothing_is_hopeless():
    learner = UndoLearner((HOME.name,), features(0.0).shape[1], CONFIG)
    for _ in range(CONFIG.least_attempts - 1):
        learner.tried(HOME.name, features(0.18), success=False)
    learner.tried(HOME.name, features(0.0), success=True)
    calm(learner, 0.0)
    learner.update(200)
    enough = learner.snapshot()
    assert enough.least[0] == pytest.approx(CONFIG.hopeless_below / CONFIG.least_attempts)
    fewer = dataclasses.replace(enough, least=np.zeros(1))
    assert not UndoCritic(SPEC, HAND_FAMILY, fewer).hopeless(reading(thing=(0.55, 0.18, 0.04, 0.0)))


def test_what_leads_to_a_loss_counts_as_failure_of_who_would_have_to_undo_it():
    learner = UndoLearner((HOME.name,), features(0.0).shape[1], CONFIG)
    for _ in range(50):
        learner.tried(HOME.name, features(*np.linspace(-0.1, 0.15, 10)), success=True)
        learner.lost(HOME.name, features(*np.linspace(-0.1, 0.0, 30), *np.linspace(0.16, 0.2, CONFIG.before_loss)))
    calm(learner, 0.0)
    learner.update(400)
    far, near = success_probabilities(learner.snapshot(), features(0.0, 0.19))[:, 0]
    assert far > 0.9
    assert near < 0.3
    assert learner.snapshot().least[0] == pytest.approx(CONFIG.hopeless_below)  # a loss is no attempt of it


def test_what_the_script_can_still_undo_is_not_hopeless_however_bad_the_policy_is():
    learner = UndoLearner((HOME.name,), features(0.0).shape[1], CONFIG)
    for _ in range(50):
        learner.tried(HOME.name, features(*np.linspace(-0.1, 0.15, 10)), success=False)
        learner.tried(HOME.name, features(*np.linspace(-0.1, 0.15, 10)), success=True, by_script=True)
    calm(learner, 0.0)
    learner.update(300)
    assert success_probabilities(learner.snapshot(), features(0.0))[0, 0] > 0.9
    assert learner.snapshot().least[0] == pytest.approx(CONFIG.hopeless_below)
    for _ in range(CONFIG.recent):  # and once the policy is better than the script, it is the policy that counts
        learner.tried(HOME.name, features(0.0), success=False, by_script=True)
        learner.tried(HOME.name, features(0.0), success=True)
    assert learner.snapshot().least[0] == pytest.approx(CONFIG.hopeless_below)


def test_what_lost_nothing_keeps_the_threshold_low():
    """Attempts go where the skill never succeeds, and lose nothing: hardly any of them may be ended for it."""
    learner = UndoLearner((HOME.name,), features(0.0).shape[1], CONFIG)
    for _ in range(50):
        learner.tried(HOME.name, features(*np.linspace(-0.1, 0.0, 10)), success=True)
        learner.tried(HOME.name, features(0.18), success=False)
    learner.update(300)
    assert learner.snapshot().least[0] == 0.0  # nothing is known yet of attempts that lose nothing
    calm(learner, -0.1, 0.18)
    quiet = UndoCritic(SPEC, HAND_FAMILY, learner.snapshot())
    assert not quiet.hopeless(reading(thing=(0.55, 0.18, 0.04, 0.0)))
    for _ in range(CONFIG.passed_kept):
        learner.passed(features(-0.1, 0.0))
    heard = UndoCritic(SPEC, HAND_FAMILY, learner.snapshot())
    assert heard.hopeless(reading(thing=(0.55, 0.18, 0.04, 0.0))) == {HOME.name}


def test_nothing_is_learned_from_nothing():
    learner = UndoLearner((HOME.name,), 4, CONFIG)
    assert learner.update(10) == {}
    assert learner.updates == 0


def test_bytes_keep_everything(weights):
    again = UndoCriticWeights.from_bytes(weights.to_bytes())
    assert again.skills == weights.skills
    np.testing.assert_array_equal(again.least, weights.least)
    seen = features(0.0, 0.1)
    np.testing.assert_array_equal(success_probabilities(again, seen), success_probabilities(weights, seen))
    for damaged in (weights.to_bytes()[:100], b""):
        with pytest.raises(ValueError, match="undo critic"):
            UndoCriticWeights.from_bytes(damaged)


def test_weights_of_another_robot_or_with_nan_are_refused(weights):
    with pytest.raises(ValueError, match="features"):
        UndoCritic(minitaur_spec(), GAIT, weights)
    spoiled = dataclasses.replace(weights, mean=np.full_like(weights.mean, np.nan))
    assert not spoiled.finite
    with pytest.raises(ValueError, match="NaN"):
        UndoCritic(SPEC, HAND_FAMILY, spoiled)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_that_cannot_work_is_refused(share):
    with pytest.raises(ValueError, match="hopeless_below"):
        UndoConfig(hopeless_below=share)
