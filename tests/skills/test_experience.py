"""What a learner gets from a stored attempt is what the policy saw and what the skills judge."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from readings import DT_S, LAYOUT, N_ACTIONS, SPEC, STEP_S, reading

from persistence.replay import ReplayBuffer
from sim.minitaur import make_minitaur
from skills.experience import AttemptArrays, attempt_return, experience, mean_reward_terms, transitions
from skills.features import HISTORY
from skills.gait import GAIT
from skills.policy import MlpPolicy, PolicyWeights, layers_from_flat
from skills.policy_control import PolicyDecision, policy_controller
from skills.walk import WALKING_SKILLS, Walk

FORWARD = WALKING_SKILLS[0]
DECIMATION = 2


def random_policy(seed=0):
    observed = HISTORY * GAIT.feature_size(SPEC)
    sizes = (observed + 2, 8, 2 * N_ACTIONS)
    count = sum((a + 1) * b for a, b in pairwise(sizes))
    flat = np.random.default_rng(seed).normal(0, 0.1, count).astype(np.float32)
    return PolicyWeights(
        version=1,
        layers=layers_from_flat(flat, sizes),
        obs_mean=np.zeros(observed, np.float32),
        obs_std=np.ones(observed, np.float32),
    )


def attempt(observations, decisions, resting):
    """The stored arrays of readings at the decisions of an attempt; the last decision was not carried out."""
    return AttemptArrays(
        family="walk",
        frames=np.stack([LAYOUT.pack(o) for o in observations]),
        stamps_s=np.array([o.stamp_s for o in observations]),
        actions=np.stack([d.sent for d in decisions[:-1]]),
        proposed=np.stack([d.proposed for d in decisions[:-1]]),
        resting=resting,
        phase_rad=np.array([d.phase_rad for d in decisions], np.float32),
    )


def by_hand(observations):
    """Arrays of readings with random actions."""
    n = len(observations)
    rng = np.random.default_rng(1)
    return AttemptArrays(
        family="walk",
        frames=np.stack([LAYOUT.pack(o) for o in observations]),
        stamps_s=np.array([o.stamp_s for o in observations]),
        actions=rng.uniform(-1, 1, (n - 1, N_ACTIONS)).astype(np.float32),
        proposed=np.zeros((n - 1, N_ACTIONS), np.float32),
        resting=FORWARD.prior_action(SPEC).astype(np.float32),
        phase_rad=rng.uniform(0, 6, n).astype(np.float32),
    )


class SpyPolicy(MlpPolicy):
    """Keeps what the policy was shown."""

    shown: list

    def act(self, obs, command, prior, noise=None):
        self.shown.append(np.array(obs))
        return super().act(obs, command, prior, noise)


@pytest.fixture(scope="module")
def acted():
    """One second of an exploring policy in the simulator: what it was shown, and what was stored."""
    policy = SpyPolicy(random_policy())
    policy.shown = []
    controller = policy_controller(FORWARD, SPEC, DT_S, random_policy(), None, decimation=DECIMATION)
    controller._decide = PolicyDecision(FORWARD, SPEC, policy, np.random.default_rng(5))
    observations, decisions = [], []
    with make_minitaur(4) as robot:
        controller.start(robot.read())
        for tick in range(50):
            observation = robot.read()
            command = controller.act(observation)
            if controller.decision is not None:
                observations.append(observation)
                decisions.append(controller.decision)
            command.sequence = tick
            robot.write(command)
            robot.step(DT_S)
    return np.stack(policy.shown), attempt(observations, decisions, controller.resting_action)


def test_the_learner_sees_exactly_what_the_policy_saw(acted):
    """The replay memory's stacks, built from the stored arrays, against the observations in the loop."""
    shown, arrays = acted
    got = experience(SPEC, WALKING_SKILLS, arrays)
    steps = len(got)
    assert steps == len(shown) - 1 == 24
    replay = ReplayBuffer(1000, got.features.shape[1], N_ACTIONS, len(WALKING_SKILLS), HISTORY)
    replay.add_episode(got.features, got.actions, got.rewards, got.terminated)
    batch = replay.sample(np.random.default_rng(0), 2000)
    # The action tells which step a drawn row is; exploration makes every action different.
    index = np.abs(batch.action[:, None, :] - got.actions[None]).sum(axis=2).argmin(axis=1)
    assert set(index) == set(range(steps))
    np.testing.assert_allclose(batch.obs, shown[index], atol=1e-6)
    np.testing.assert_allclose(batch.next_obs, shown[index + 1], atol=1e-6)
    np.testing.assert_array_equal(batch.reward, got.rewards[index])


def test_the_network_in_the_loop_gives_the_mean_that_the_learner_computes(acted):
    shown, arrays = acted
    got = experience(SPEC, WALKING_SKILLS, arrays)
    first = np.tile(got.features[0], HISTORY)
    command, prior = np.array(FORWARD.command), FORWARD.prior_action(SPEC)
    online = MlpPolicy(random_policy()).act(shown[0], command, prior)
    assert MlpPolicy(random_policy()).act(first, command, prior) == pytest.approx(online, abs=1e-6)


def test_actions_before_frames_are_shifted_by_one_and_begin_with_the_resting_action(acted):
    _, arrays = acted
    steps = transitions(LAYOUT, arrays)
    assert np.array_equal(steps.previous_action[0], arrays.resting)
    assert np.array_equal(steps.previous_action[1:], arrays.actions[:-1])
    assert np.array_equal(steps.action, arrays.actions)
    assert steps.dt_s == pytest.approx(np.full(len(steps), STEP_S))


def test_every_skill_judges_the_same_steps():
    arrays = by_hand([reading(x=0.02 * i, stamp_s=STEP_S * i) for i in range(6)])
    got = experience(SPEC, WALKING_SKILLS, arrays)
    steps = transitions(LAYOUT, arrays)
    for k, skill in enumerate(WALKING_SKILLS):
        assert got.rewards[:, k] == pytest.approx(skill.reward(steps), abs=1e-6)
    assert (got.rewards[:, 0] > got.rewards[:, 2]).all(), "walking straight ahead is forward, not turning"
    assert attempt_return(FORWARD, steps) == pytest.approx(got.rewards[:, 0].sum(), rel=1e-5)
    assert mean_reward_terms(FORWARD, steps)["progress"] == pytest.approx(1.0, rel=1e-3)


def test_an_attempt_is_cut_after_the_step_that_falls():
    rolls = [0, 0, 20, 60, 90, 90, 90]
    arrays = by_hand([reading(roll=math.radians(a), stamp_s=STEP_S * i) for i, a in enumerate(rolls)])
    got = experience(SPEC, WALKING_SKILLS, arrays)
    assert len(got) == 3
    assert got.features.shape == (4, GAIT.feature_size(SPEC))
    assert got.terminated.tolist() == [[False] * 4, [False] * 4, [True] * 4]
    assert (got.rewards[-1] < -5).all()


def test_steps_without_tracker_or_without_a_new_reading_are_not_valid():
    seen = [True, True, False, True, True, True]
    stamps = [0.0, 0.04, 0.08, 0.12, 0.12, 0.16]
    arrays = by_hand([reading(valid=v, stamp_s=s) for v, s in zip(seen, stamps, strict=True)])
    got = experience(SPEC, WALKING_SKILLS, arrays)
    assert got.valid.tolist() == [True, False, False, False, True]
    assert np.isfinite(got.rewards).all()


def test_a_step_that_leads_to_a_catch_is_paid_for_and_the_catch_is_a_step_like_others():
    stamps = [0.0, 0.04, 0.08, 1.10, 1.14, 1.18]
    plain = by_hand([reading(stamp_s=s) for s in stamps])
    whole = experience(SPEC, WALKING_SKILLS, plain)
    got = experience(SPEC, WALKING_SKILLS, replace(plain, caught=(2,)))
    assert got.valid.all()
    assert not got.terminated.any()
    price = np.zeros((5, 4), np.float32)
    price[1] = FORWARD.caught_reward
    assert got.rewards == pytest.approx(whole.rewards + price)
    assert FORWARD.caught_reward < 0.0


@pytest.mark.parametrize("caught", [(0,), (5,)], ids=["at once", "after the last step"])
def test_a_catch_that_no_step_leads_to_or_follows_costs_nothing(caught):
    plain = by_hand([reading(stamp_s=0.04 * i) for i in range(6)])
    got = experience(SPEC, WALKING_SKILLS, replace(plain, caught=caught))
    assert got.rewards == pytest.approx(experience(SPEC, WALKING_SKILLS, plain).rewards)


def falling():
    """Three steps, the last of which falls; two more that nobody learns from."""
    rolls = [0, 0, 20, 60, 90, 90]
    return by_hand([reading(roll=math.radians(a), stamp_s=STEP_S * i) for i, a in enumerate(rolls)])


class TestLearnedInPlaceOfOwnTerms:
    def test_only_the_skill_that_has_one_earns_otherwise(self):
        plain = experience(SPEC, WALKING_SKILLS, falling())
        got = experience(SPEC, WALKING_SKILLS, falling(), rewards={FORWARD.name: lambda s: s.dt_s * 50.0}, discount=0.9)
        assert got.rewards[:, 1:] == pytest.approx(plain.rewards[:, 1:])
        assert got.rewards[:2, 0] == pytest.approx([2.0, 2.0])

    @pytest.mark.parametrize("shift", [-5.0, 0.0, 5.0])
    def test_an_end_counts_as_if_it_went_on_for_ever(self, shift):
        """So what is added to every step changes no choice between ways that end and ways that do not."""
        discount, endless = 0.9, 200
        told = {FORWARD.name: lambda s: shift + s.next_frame.up[..., 2]}
        got = experience(SPEC, (FORWARD,), falling(), rewards=told, discount=discount)
        assert len(got) == 3
        step = shift + np.cos(np.radians([0, 20, 60]))
        in_full = np.concatenate((step, np.full(endless, step[-1])))
        assert discount ** np.arange(3) @ got.rewards[:, 0] == pytest.approx(
            discount ** np.arange(len(in_full)) @ in_full, rel=1e-4
        )

    def test_a_catch_is_paid_for_as_ever(self):
        plain = by_hand([reading(stamp_s=0.04 * i) for i in range(6)])
        told = {FORWARD.name: lambda s: np.ones(len(s))}
        got = experience(SPEC, (FORWARD,), replace(plain, caught=(2,)), rewards=told, discount=0.9)
        assert got.rewards[:, 0].tolist() == [1.0, 1.0 + FORWARD.caught_reward, 1.0, 1.0, 1.0]

    def test_without_a_discount_no_end_has_a_price(self):
        with pytest.raises(ValueError, match="walk_forward"):
            experience(SPEC, (FORWARD,), falling(), rewards={FORWARD.name: lambda s: np.ones(len(s))})


class Promising(Walk):
    """A walk that knows that upright is more promising."""

    def potential(self, frames):
        return 3.0 * frames.up[..., 2]


class TestPotential:
    SKILL = object.__new__(Promising)
    SKILL.__dict__.update(FORWARD.__dict__)

    def test_its_gain_is_kept_beside_the_rewards(self):
        plain = experience(SPEC, (FORWARD,), falling(), discount=0.9)
        got = experience(SPEC, (self.SKILL,), falling(), discount=0.9)
        assert got.rewards == pytest.approx(plain.rewards)
        up = 3.0 * np.cos(np.radians([0, 0, 20, 60]))
        up_after = np.where([False, False, True], 0.0, up[1:])
        assert got.shaping[:, 0] == pytest.approx(0.9 * up_after - up[:-1], abs=1e-5)
        assert not plain.shaping.any()

    def test_a_learner_without_discount_has_no_use_for_it(self):
        assert not experience(SPEC, (self.SKILL,), falling()).shaping.any()


def test_stored_arrays_are_not_written_to():
    arrays = by_hand([reading(x=0.01 * i, stamp_s=STEP_S * i) for i in range(5)])
    for array in (arrays.frames, arrays.stamps_s, arrays.actions, arrays.resting, arrays.phase_rad):
        array.flags.writeable = False
    first, second = (experience(SPEC, WALKING_SKILLS, arrays) for _ in range(2))
    assert np.array_equal(first.features, second.features)
    assert np.array_equal(first.rewards, second.rewards)
