"""Safety critic and recovery policy: probabilities by hand on a line with two cliffs, and what a shield makes of it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from persistence.checkpoints import load_newest, save_checkpoint
from persistence.replay import ReplayBuffer
from skills import ensemble
from skills.learners.risk import RiskConfig, RiskLearner
from skills.policy import PolicyWeights
from skills.shield import SAFE_SHARE, Shield, ShieldWeights, next_stacks
from skills.symmetry import Mirror

EDGE = 1.0
STEP = 0.25
NO_COMMANDS, AT_REST = np.zeros((1, 0)), np.zeros((1, 1))
NOTHING, MIDDLE = np.zeros(0), np.zeros(1)


def walks(seed: int, count: int, noise: float = 0.0) -> ReplayBuffer:
    """Random walks on a line whose ends, at 1 and -1, are harm; with noise, a step goes so much too far, or less."""
    rng, replay = np.random.default_rng(seed), ReplayBuffer(20_000, 1, 1)
    for _ in range(count):
        places, actions = [rng.uniform(-EDGE, EDGE)], []
        while len(actions) < 10 and abs(places[-1]) < EDGE:
            actions.append(rng.uniform(-1.0, 1.0))
            places.append(places[-1] + STEP * actions[-1] + noise * rng.standard_normal())
        if not actions:
            continue
        ends = np.zeros((len(actions), 1))
        ends[-1] = abs(places[-1]) >= EDGE
        replay.add_episode(np.array(places)[:, None], np.array(actions)[:, None], ends, ends)
    return replay


def heading(drift: float) -> PolicyWeights:
    """A task policy that always does tanh(drift), with hardly any noise."""
    layers = ((np.zeros((1, 2), np.float32), np.array([drift, -8.0], np.float32)),)
    return PolicyWeights(version=0, layers=layers, obs_mean=np.zeros(1, np.float32), obs_std=np.ones(1, np.float32))


@pytest.fixture(scope="module")
def shield() -> Shield:
    """What is learned about a policy that heads for the edge at 1."""
    config = RiskConfig(hidden=(32, 32), batch=64, discount=0.5, threshold=0.3, learning_rate=3e-3, tau=0.02)
    learner = RiskLearner(walks(0, 400), NO_COMMANDS, AT_REST, MIDDLE, config, seed=0)
    figures = learner.update(1500, heading(5.0))
    assert figures["risk_loss"] < 0.1
    return Shield(learner.snapshot())


@pytest.mark.parametrize(
    ("place", "action", "risk"),
    # A full step after the other, harm that is k steps off counts 0.5^k.
    [(0.9, 1.0, 1.0), (0.6, 1.0, 0.5), (0.35, 1.0, 0.25), (0.9, -1.0, 0.25), (-0.9, -1.0, 1.0), (-0.9, 1.0, 0.0)],
)
def test_risk_is_the_discounted_probability_of_harm_under_the_task_policy(shield, place, action, risk):
    assert shield.risk(np.array([place]), NOTHING, np.array([action])) == pytest.approx(risk, abs=0.12)


def test_a_step_that_chance_may_carry_over_the_edge_is_as_risky_as_chance_has_it():
    """0.05 before the edge, with a standard deviation of 0.1: 1 - Phi(0.5) = 0.31. Where it led by itself says less:
    0.05 before the edge no harm has been done, and a policy that turns back does none."""
    config = RiskConfig(hidden=(32, 32), batch=64, discount=0.1, threshold=0.3, learning_rate=3e-3, tau=0.02)
    learner = RiskLearner(walks(0, 1500, noise=0.1), NO_COMMANDS, AT_REST, MIDDLE, config, seed=0)
    learner.update(3000, heading(-5.0))
    shield = Shield(replace(learner.snapshot(), caution=0.0))
    assert shield.risk(np.array([0.8]), NOTHING, np.array([0.6])) == pytest.approx(0.31, abs=0.1)
    assert shield.risk(np.array([0.8]), NOTHING, np.array([-0.4])) < 0.05


def test_the_model_says_where_an_action_leads(shield):
    w = shield.weights
    for place, action in ((-0.5, 1.0), (0.0, 0.0), (0.5, -0.6)):
        seen = ((np.array([[place]]) - w.recovery.obs_mean) / w.recovery.obs_std).astype(np.float32)
        change = ensemble.forward(w.model, np.concatenate((np.array([[action]], np.float32), seen), axis=1))
        ahead = next_stacks(seen, change)[:, 0, 0] * w.recovery.obs_std + w.recovery.obs_mean
        np.testing.assert_allclose(ahead, place + STEP * action, atol=0.02)


def test_a_critic_that_has_seen_no_harm_stops_nothing():
    shield = Shield(RiskLearner(walks(0, 5), NO_COMMANDS, AT_REST, MIDDLE, RiskConfig(), seed=0).snapshot())
    assert all(shield.risk(np.array([place]), NOTHING, np.ones(1)) < 0.1 for place in np.linspace(-1.0, 1.0, 9))


def test_a_safe_action_passes_and_a_risky_one_is_replaced_by_the_nearest_that_is_safe(shield):
    passed = shield.judge(np.array([0.0]), NOTHING, MIDDLE, np.array([-0.5]))
    assert (passed.recovered, passed.action.tolist()) == (False, [-0.5])
    for side in (1.0, -1.0):
        replaced = shield.judge(np.array([0.95 * side]), NOTHING, MIDDLE, np.array([side]))
        assert replaced.recovered
        assert replaced.risk > 0.5
        # Where the policy goes on to the edge, the best is to lead away; from the other one it leaves by itself.
        place, actions = np.array([0.95 * side]), np.linspace(-1.0, 1.0, 41)[:, None]
        risks = np.array([shield.risk(place, NOTHING, action) for action in actions])
        safe = SAFE_SHARE * shield.weights.threshold
        assert shield.risk(place, NOTHING, replaced.action) <= max(safe, risks.min() + 1e-3)
        nearest = np.abs(actions - side)[risks <= safe].min() if (risks <= safe).any() else 2.0
        assert abs(replaced.action[0] - side) == pytest.approx(nearest, abs=0.1)


def test_caution_raises_risk_by_as_much_as_the_members_disagree(shield):
    weights = shield.weights
    careless = Shield(replace(weights, caution=0.0))
    for place in np.linspace(-1.0, 1.0, 9):
        args = np.array([place]), NOTHING, MIDDLE
        members = []
        for member in range(3):
            critic, model = (
                tuple((weight[[member]], bias[[member]]) for weight, bias in layers)
                for layers in (weights.critic, weights.model)
            )
            one = Shield(replace(weights, critic=critic, model=model))
            members.append(one.risk(*args))
        log_odds = np.log(members) - np.log1p(-np.array(members))
        assert careless.risk(*args) == pytest.approx(1.0 / (1.0 + np.exp(-log_odds.mean())), rel=1e-3)
        assert shield.risk(*args) == pytest.approx(1.0 / (1.0 + np.exp(-log_odds.mean() - log_odds.std())), rel=1e-3)


def test_bytes_give_the_same_judgement_back(shield):
    again = Shield(ShieldWeights.from_bytes(shield.weights.to_bytes()))
    args = np.array([0.7]), NOTHING, np.array([0.3])
    assert again.risk(*args) == shield.risk(*args)
    assert again.weights.threshold == shield.weights.threshold
    with pytest.raises(ValueError, match="cannot be read"):
        ShieldWeights.from_bytes(shield.weights.to_bytes()[:-9])


def test_a_shield_of_nan_is_refused(shield):
    weights = shield.weights
    for part in ("critic", "model"):
        broken = tuple((weight * np.nan, bias) for weight, bias in getattr(weights, part))
        with pytest.raises(ValueError, match="NaN"):
            Shield(replace(weights, **{part: broken}))


def test_equal_seeds_learn_the_same():
    config = RiskConfig(hidden=(8,), batch=16)
    learned = []
    for _ in range(2):
        learner = RiskLearner(walks(1, 20), NO_COMMANDS, AT_REST, MIDDLE, config, seed=3)
        learner.update(20, heading(0.0))
        learned.append(learner.snapshot().to_bytes())
    assert learned[0] == learned[1]


def test_a_state_goes_on_as_if_nothing_had_been(tmp_path):
    config, replay = RiskConfig(hidden=(8,), batch=16), walks(1, 20)
    one, other = (RiskLearner(replay, NO_COMMANDS, AT_REST, MIDDLE, config, seed=seed) for seed in (3, 4))
    one.update(20, heading(0.0))
    arrays, meta = one.state()
    other.load_state(arrays, json.loads(json.dumps(meta)))
    assert other.updates == 20
    assert other.snapshot().to_bytes() == one.snapshot().to_bytes()
    for learner in (one, other):
        learner.update(20, heading(0.5))
    assert other.snapshot().to_bytes() == one.snapshot().to_bytes()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda arrays, meta: meta.update(kind="sac"),
        lambda arrays, meta: meta.pop("updates"),
        lambda arrays, meta: arrays.pop("target.0"),
        lambda arrays, meta: arrays.update({"critic.0": arrays["critic.0"] * np.nan}),
        lambda arrays, meta: arrays.update({"actor.0": arrays["actor.0"][..., :1]}),
    ],
    ids=["kind", "counter", "lacking", "not finite", "shape"],
)
def test_a_state_that_does_not_fit_changes_nothing(spoil):
    learner = RiskLearner(walks(1, 20), NO_COMMANDS, AT_REST, MIDDLE, RiskConfig(hidden=(8,), batch=16), seed=3)
    learner.update(5, heading(0.0))
    before = learner.snapshot().to_bytes()
    arrays, meta = learner.state()
    spoil(arrays, meta)
    with pytest.raises(ValueError, match="risk state"):
        learner.load_state(arrays, meta)
    assert learner.snapshot().to_bytes() == before


def test_in_the_mirror_harm_on_one_side_teaches_the_other():
    """Walks that only ever went over the edge at 1: the edge at -1 is known with the mirror image alone."""
    seen = walks(0, 400)
    replay = ReplayBuffer(20_000, 1, 1)
    rng = np.random.default_rng(0)
    for _ in range(400):
        batch = seen.sample(rng, 1)
        if batch.next_obs[0, 0] > -0.9:
            replay.add_episode(
                np.stack((batch.obs[0], batch.next_obs[0])), batch.action, batch.reward, batch.terminated
            )
    mirror = Mirror(
        row_index=np.array([0]),
        row_sign=np.array([-1.0]),
        action_index=np.array([0]),
        action_sign=np.array([-1.0]),
        skill_of=np.array([0]),
    )
    config = RiskConfig(hidden=(32, 32), batch=64, discount=0.5, learning_rate=3e-3, tau=0.02)
    risks = []
    for mirrors in ((), (mirror,)):
        learner = RiskLearner(replay, NO_COMMANDS, AT_REST, MIDDLE, config, seed=0, mirrors=mirrors)
        learner.update(600, heading(0.0))
        risks.append(Shield(learner.snapshot()).risk(np.array([-0.98]), NOTHING, np.array([-1.0])))
    assert risks[1] > 0.8 > 0.5 > risks[0]


@pytest.mark.parametrize(
    "wrong",
    [{"discount": 1.0}, {"discount": 0.0}, {"threshold": 0.0}, {"ensemble": 0}, {"hidden": ()}, {"alarm_share": 0.0}],
)
def test_settings_that_cannot_work_are_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        RiskConfig(**wrong)


def test_the_threshold_rises_until_no_more_than_its_share_counts_as_too_risky():
    replay = walks(0, 200)
    shares = []
    for share in (1.0, 0.3, 0.1):
        config = RiskConfig(hidden=(32,), batch=64, threshold=0.05, alarm_share=share, learning_rate=3e-3, tau=0.02)
        learner = RiskLearner(replay, NO_COMMANDS, AT_REST, MIDDLE, config, seed=0)
        figures = learner.update(600, heading(0.5))
        shield = Shield(learner.snapshot())
        assert figures["risk_threshold"] == shield.weights.threshold
        places = replay.sample(np.random.default_rng(1), 2000).next_obs
        places = places[np.abs(places[:, 0]) < EDGE]
        judged = [shield.judge(place, NOTHING, MIDDLE, np.tanh([0.5])) for place in places]
        shares.append(np.mean([one.recovered for one in judged]))
    assert shares[0] > 0.5
    assert shares[1] == pytest.approx(0.3, abs=0.12)
    assert shares[2] == pytest.approx(0.1, abs=0.06)


def test_harm_may_be_what_an_observation_shows_instead_of_an_end():
    """Walks over the same line in which nothing ever ended: beyond 0.5 is harm because somebody says so."""
    rng, replay = np.random.default_rng(0), ReplayBuffer(20_000, 1, 1)
    for _ in range(300):
        places = rng.uniform(-EDGE, EDGE) + STEP * np.concatenate(([0.0], np.cumsum(actions := rng.uniform(-1, 1, 10))))
        replay.add_episode(places[:, None], actions[:, None], np.zeros((10, 1)), np.zeros((10, 1)))
    config = RiskConfig(hidden=(32, 32), batch=64, discount=0.5, learning_rate=3e-3, tau=0.02)
    learner = RiskLearner(
        replay, NO_COMMANDS, AT_REST, MIDDLE, config, seed=0, harm=lambda seen: seen[:, 0] > 0.5 * EDGE
    )
    assert learner.update(1200, heading(0.0))["risk_harm"] > 0.1
    shield = Shield(learner.snapshot())
    assert shield.risk(np.array([0.45]), NOTHING, np.array([1.0])) > 0.8
    assert shield.risk(np.array([-0.45]), NOTHING, np.array([-1.0])) < 0.2


def test_updates_that_end_in_nan_are_undone():
    learner = RiskLearner(walks(1, 20), NO_COMMANDS, AT_REST, MIDDLE, RiskConfig(hidden=(8,), batch=16), seed=3)
    learner.update(5, heading(0.0))
    before = learner.snapshot().to_bytes()
    assert learner.update(5, heading(np.nan)) == {}
    assert "finite" in learner.refused_reason
    assert (learner.updates, learner.snapshot().to_bytes()) == (5, before)
    assert learner.update(5, heading(0.0))
    assert (learner.updates, learner.refused_reason) == (10, "")
    assert learner.update(0, heading(0.0)) == {}


def test_a_state_outlives_a_checkpoint_on_disk(tmp_path):
    """Files of tensors know no scalars, and optimisers count in them."""
    config, replay = RiskConfig(hidden=(8,), batch=16), walks(1, 20)
    one, other = (RiskLearner(replay, NO_COMMANDS, AT_REST, MIDDLE, config, seed=seed) for seed in (3, 4))
    one.update(20, heading(0.0))
    arrays, meta = one.state()
    save_checkpoint(tmp_path, 1, arrays, {"risk": meta})
    stored = load_newest(tmp_path)
    assert stored is not None
    other.load_state(stored.tensors, stored.meta["risk"])
    assert other.snapshot().to_bytes() == one.snapshot().to_bytes()
