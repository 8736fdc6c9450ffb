"""Soft actor-critic: its arithmetic against autograd and hand-made numbers, its repeatability, and that it learns."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest
import torch
from sac_kit import ACTIONS, COMMAND, OBS, SKILLS, copy_of, draw, filled, gradients, learner, reference
from torch.nn import functional

from persistence.replay import ReplayBuffer
from skills.learners.config import SacConfig
from skills.learners.gaussian import squash
from skills.learners.networks import Trunk, bind, initialise, parameter_count
from skills.learners.sac import SacLearner
from skills.policy import MlpPolicy
from skills.symmetry import Mirror

torch.set_num_threads(1)


class TestGradients:
    @pytest.mark.parametrize(
        "settings",
        [
            {},
            {"layer_norm": True},
            {"ensemble": 5},
            {"ensemble": 5, "actor_mean": True},
            {"hidden": (7,)},
            {"hidden": (6, 5, 4)},
            {"tau": 1.0},
            {"batch_norm": True},
            {"batch_norm": True, "hidden": (7,), "actor_mean": True},
            {"batch_norm": True, "layer_norm": True, "ensemble": 3},
            {"imitation": 0.7},
            {"imitation": 0.7, "ensemble": 3, "actor_mean": True, "layer_norm": True},
            {"imitation": 0.7, "batch_norm": True},
        ],
    )
    def test_hand_written_gradients_are_those_of_autograd(self, settings):
        """All gradients of one update against torch's own, at parameters that are not those of the start."""
        subject = learner(output_gain=1.0, normalise=False, **settings)
        subject.update(3)
        (minibatch,) = draw(subject)
        assert 0 < minibatch.advised.mean() < 1 or "imitation" not in settings
        _, wanted = reference(subject, copy_of(minibatch))
        subject._core.step(minibatch)
        for have, want in zip(gradients(subject), wanted, strict=True):
            torch.testing.assert_close(have, want, rtol=1e-4, atol=3e-6)

    @pytest.mark.parametrize("settings", [{}, {"batch_norm": True}])
    def test_a_drawn_subset_of_critics_makes_the_target(self, settings):
        """Redraw the subset from the same random state: the gradients are those of the target by these critics only."""
        subject = learner(output_gain=1.0, normalise=False, ensemble=6, target_subset=2, actor_mean=True, **settings)
        subject.update(3)
        (minibatch,) = draw(subject)
        twin = torch.Generator()
        twin.set_state(subject._generator.get_state())
        chosen = torch.randperm(6, generator=twin)[:2]
        _, wanted = reference(subject, copy_of(minibatch), chosen)
        _, others = reference(subject, copy_of(minibatch))
        subject._core.step(minibatch)
        for have, want in zip(gradients(subject), wanted, strict=True):
            torch.testing.assert_close(have, want, rtol=1e-4, atol=3e-6)
        assert not torch.allclose(gradients(subject)[-2], others[-2], rtol=1e-3)

    def test_every_critic_is_drawn_for_targets_in_turn(self):
        subject = learner(ensemble=4, target_subset=1)
        for index, bias in enumerate(subject._core.target[-1].bias):
            bias.fill_(1000.0 * index)
        (minibatch,) = draw(subject)
        values = [float(subject._core._next_values(minibatch, torch.zeros(0)).mean()) for _ in range(80)]
        assert sorted({round(value / 1000.0) for value in values}) == [0, 1, 2, 3]

    def test_clamped_log_std_passes_no_gradient(self):
        subject = learner(normalise=False, output_gain=1.0, initial_std=0.5, log_std_max=-0.7)
        (minibatch,) = draw(subject)
        _, wanted = reference(subject, copy_of(minibatch))
        subject._core.step(minibatch)
        torch.testing.assert_close(subject._core.actor_grads[-1].weight, wanted[4], rtol=1e-4, atol=3e-6)

    @pytest.mark.parametrize("layer_norm", [False, True])
    def test_dropout_gradient_is_that_of_the_masked_network(self, layer_norm):
        """With its masks frozen the network is a plain one; autograd through the same masks must agree."""
        sizes, generator = (4, 9, 8, 1), torch.Generator().manual_seed(3)
        flat, flat_grad = (torch.zeros(parameter_count(2, sizes)) for _ in range(2))
        layers, grads = bind(flat, 2, sizes), bind(flat_grad, 2, sizes)
        initialise(layers, generator)
        trunk = Trunk(2, sizes, 6, graded=6, learned=slice(6), layer_norm=layer_norm, dropout=0.5, generator=generator)
        pre = torch.randn(2, 6, 9, generator=generator)
        for first, product in zip(trunk.first, pre, strict=True):
            first.copy_(product)
        trunk.forward(layers)
        x = pre.clone().requires_grad_()
        hidden = x
        for mask, layer in zip(trunk._masks, [None, layers[1]], strict=True):
            hidden = hidden if layer is None else hidden @ layer.weight + layer.bias
            hidden = hidden * mask
            hidden = torch.relu(functional.layer_norm(hidden, hidden.shape[-1:]) if layer_norm else hidden)
        out = hidden @ layers[2].weight + layers[2].bias
        torch.testing.assert_close(trunk.out, out)
        weight = torch.randn(out.shape, generator=generator)
        trunk.out_grad.copy_(weight)
        trunk.backward(layers, grads)
        torch.testing.assert_close(torch.stack(trunk.first_grad), torch.autograd.grad((out * weight).sum(), x)[0])
        assert {round(float(value), 6) for value in trunk._masks[0].unique()} == {0.0, 2.0}


class TestTarget:
    def test_soft_bellman_target_by_hand(self):
        """Critics that always say 3 and 5, alpha 0.5, log pi -2, gamma 0.9: 1 + 0.9 (3 + 1) = 4.6; at the end: 1."""
        subject = learner(normalise=False, batch=2, discount=0.9)
        subject._core._target_flat.zero_()
        subject._core.target[-1].bias[:, 0, 0] = torch.tensor([3.0, 5.0])
        (minibatch,) = draw(subject)
        minibatch = minibatch._replace(reward=torch.ones(2), discount=torch.tensor([0.9, 0.0]))
        following = subject._core._next_values(minibatch, torch.zeros(0))
        target = subject._core._soft_target(minibatch, following, torch.full((2,), 0.5), torch.full((2,), -2.0))
        torch.testing.assert_close(target, torch.tensor([4.6, 1.0]))

    def test_truncation_bootstraps_and_termination_does_not(self):
        replay = ReplayBuffer(50, OBS, ACTIONS, 1)
        for end in (False, True):
            terminated = np.full((5, 1), end)
            replay.add_episode(np.ones((6, OBS)), np.zeros((5, ACTIONS)), np.full((5, 1), float(end)), terminated)
        (minibatch,) = draw(learner(replay, batch=64))
        assert minibatch.discount[minibatch.reward == 1].unique().tolist() == [0.0]
        assert minibatch.discount[minibatch.reward == 0].unique().tolist() == [pytest.approx(0.99)]

    def test_polyak_moves_the_target_by_tau(self):
        subject = learner(tau=0.25, learning_rate=0.01)
        before = subject._core._target_flat.clone()
        subject.update(1)
        torch.testing.assert_close(subject._core._target_flat, 0.75 * before + 0.25 * subject._core._critic_flat)


class TestSquash:
    @pytest.mark.parametrize(("mean", "log_std"), [(0.0, 0.0), (1.5, -1.0), (-0.7, 0.5)])
    def test_density_integrates_to_one_and_matches_its_histogram(self, mean, log_std):
        """Integrate pi(u) over (-1, 1) through u = tanh(x) on a grid: exp(log_prob) du must sum to 1."""
        x = torch.linspace(-9, 9, 40_001, dtype=torch.float64)
        noise = (x - mean) / math.exp(log_std)
        out = torch.tensor([[mean, log_std]], dtype=torch.float64).expand(len(x), 2)
        drawn = squash(out, torch.zeros(len(x), 1, dtype=torch.float64), noise[:, None], -10, 2)
        torch.testing.assert_close(drawn.action[:, 0], x.tanh())
        assert torch.trapezoid(drawn.log_prob.exp(), drawn.action[:, 0]).item() == pytest.approx(1.0, abs=2e-3)

    def test_log_prob_stays_finite_far_out(self):
        """At x = 50, log(1 - tanh^2) is 2 (log 2 - 50); 1 - tanh^2 itself is zero in float32."""
        drawn = squash(torch.tensor([[50.0, 0.0]]), torch.zeros(1, 1), torch.zeros(1, 1), -10, 2)
        assert drawn.log_prob.item() == pytest.approx(-0.5 * math.log(2 * math.pi) - 2 * (math.log(2) - 50), rel=1e-6)


class TestTemperature:
    @pytest.mark.parametrize(("target_entropy", "rises"), [(50.0, True), (-50.0, False)])
    def test_alpha_rises_while_entropy_is_below_its_target(self, target_entropy, rises):
        subject = learner(target_entropy=target_entropy)
        start = subject._core.log_alpha.clone()
        subject.update(20)
        assert ((subject._core.log_alpha > start) == rises).all()

    def test_a_skill_that_is_never_drawn_keeps_its_temperature(self):
        subject = learner(skill_weights=(1.0, 0.0, 1.0))
        start = subject._core.log_alpha.clone()
        subject.update(10)
        moved = (subject._core.log_alpha != start).tolist()
        assert moved == [True, False, True]


class TestRelabelling:
    def test_reward_end_command_and_prior_are_those_of_the_drawn_skill(self):
        """Rewards hold the skill's index and skill 2 always ends, so each part tells which skill it was made for."""
        replay = ReplayBuffer(100, OBS, ACTIONS, SKILLS)
        rewards = np.tile(np.arange(SKILLS, dtype=float), (50, 1))
        replay.add_episode(np.ones((51, OBS)), np.zeros((50, ACTIONS)), rewards, rewards == 2)
        subject = learner(replay, batch=300)
        (m,) = draw(subject)
        skill = m.skill.argmax(-1)
        assert m.reward.tolist() == skill.tolist()
        assert (m.discount == 0).tolist() == (skill == 2).tolist()
        for part in m.inputs.split(300):
            assert np.array_equal(part[:, ACTIONS + OBS : -1], subject._sampler._commands[skill])
            assert (part[:, -1] == 1.0).all()
        assert np.array_equal(m.prior, np.tile(subject._sampler._priors[skill], (2, 1)))
        assert np.bincount(skill, minlength=3).min() > 70

    @pytest.mark.parametrize("weights", [(1.0, -1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 1.0), (1.0, math.nan, 1.0)])
    def test_bad_skill_weights_are_refused(self, weights):
        with pytest.raises(ValueError, match="skill weights"):
            learner(skill_weights=weights)


class TestImitation:
    def told(self, advice):
        """Twenty steps in which the same was done, and each skill is advised otherwise. ``advice``: (K, A)."""
        replay = ReplayBuffer(100, 5, 2, 3, advice=True)
        done, rewards, ends = np.full((20, 2), -0.5), np.zeros((20, 3)), np.zeros((20, 3), bool)
        replay.add_episode(np.zeros((21, 5)), done, rewards, ends, advice=np.tile(advice, (20, 1, 1)))
        return replay

    def test_each_skill_gets_its_own_advice_beside_what_was_done(self):
        advice = np.array([[0.1, 0.2], [0.3, 0.4], [np.nan, np.nan]])
        (minibatch,) = draw(learner(self.told(advice), imitation=1.0, batch=64))
        given = minibatch.skill.argmax(1).numpy()
        assert set(given) == {0, 1, 2}
        np.testing.assert_array_equal(minibatch.advised, given < 2)
        np.testing.assert_allclose(minibatch.advice, np.nan_to_num(advice)[given], atol=1e-7)
        assert (minibatch.inputs[64:128, :2] == -0.5).all()

    def test_in_the_mirror_advice_is_that_of_the_skill_it_looks_like_there(self):
        mirror = Mirror(
            row_index=np.arange(5),
            row_sign=np.ones(5),
            action_index=np.array([1, 0]),
            action_sign=np.array([-1.0, -1.0]),
            skill_of=np.array([1, 0, 2]),
        )
        advice = np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])
        (minibatch,) = draw(learner(self.told(advice), imitation=1.0, batch=64, mirrors=(mirror,)))
        given = minibatch.skill.argmax(1).numpy()
        np.testing.assert_allclose(minibatch.advice[:32], advice[given[:32]], atol=1e-7)
        np.testing.assert_allclose(minibatch.advice[32:], -advice[[1, 0, 2]][given[32:], ::-1], atol=1e-7)

    def test_nothing_is_advised_where_nobody_imitates_or_advises(self):
        assert not draw(learner(self.told(np.full((3, 2), 0.5))))[0].advised.any()
        assert not draw(learner(filled(), imitation=1.0))[0].advised.any()

    def test_a_policy_does_what_it_is_advised_rather_than_what_is_as_good(self):
        """Either of two actions earns the same; one of them is advised."""
        rng, replay = np.random.default_rng(0), ReplayBuffer(3000, 1, 1, 1, advice=True)
        for episode in range(60):
            side = 1.0 if episode % 2 else -1.0
            u = np.full((20, 1), 0.6 * side) if rng.random() < 0.5 else rng.uniform(-1, 1, (20, 1))
            good, advice = np.abs(np.abs(u) - 0.6) < 1e-6, np.full((20, 1, 1), 0.6)
            replay.add_episode(rng.standard_normal((21, 1)), u, good - 1.0, np.ones((20, 1), bool), advice=advice)
        settings = SacConfig(hidden=(32, 32), batch=64, learning_rate=3e-3, imitation=1.0)
        for seed in (0, 1):
            subject = SacLearner(replay, np.zeros((1, 1)), np.zeros((1, 1)), settings, seed)
            subject.update(800)
            act = MlpPolicy(subject.snapshot()).act
            assert act(np.zeros(1), np.zeros(1), np.zeros(1))[0] == pytest.approx(0.6, abs=0.2)


class TestPolicyParity:
    def test_numpy_policy_equals_the_torch_actor(self):
        """Same observation, command, prior and noise: equal actions to 1e-5, for every skill, normaliser included."""
        replay = filled()
        subject = learner(replay, batch=32, output_gain=1.0)
        subject.update(30)
        policy = MlpPolicy(subject.snapshot())
        rng = copy.deepcopy(subject._rng)
        (m,) = draw(subject)
        raw = replay.sample(rng, 32)
        drawn = subject._core._act(m)
        rng = np.random.default_rng(99)
        commands, priors = rng.standard_normal((SKILLS, COMMAND)), rng.uniform(-0.5, 0.5, (SKILLS, ACTIONS))
        for row, skill in enumerate(m.skill.argmax(-1).tolist()):
            act = policy.act(raw.obs[row], commands[skill], priors[skill], m.noise[row].numpy())
            np.testing.assert_allclose(act, drawn.action[row], atol=1e-5)

    def test_a_new_policy_acts_like_its_prior(self):
        subject = learner(output_gain=0.0)
        subject._core.actor[-1].bias.zero_()
        act = MlpPolicy(subject.snapshot()).act(np.ones(OBS), np.ones(COMMAND), np.array([0.4, -0.2]))
        np.testing.assert_allclose(act, [0.4, -0.2], atol=1e-6)

    def test_snapshot_is_a_copy_with_a_rising_version(self):
        subject = learner()
        first = subject.snapshot()
        digest = first.sha256
        subject.update(2)
        assert (first.version, subject.snapshot().version) == (0, 2)
        assert (first.sha256 == digest, subject.snapshot().sha256 == digest) == (True, False)


class TestRepeatability:
    @pytest.mark.parametrize(
        "settings", [{}, {"layer_norm": True, "dropout": 0.1}, {"target_subset": 1}, {"batch_norm": True}]
    )
    def test_same_seed_and_data_give_the_same_bits(self, settings):
        first, second, other = (learner(seed=seed, **settings) for seed in (3, 3, 4))
        for subject in (first, second, other):
            subject.update(25)
        assert torch.equal(first._core.bank, second._core.bank)
        assert not torch.equal(first._core.bank, other._core.bank)

    @pytest.mark.parametrize(
        "settings", [{}, {"dropout": 0.1}, {"target_subset": 1}, {"batch_norm": True}, {"reset_every": 9}]
    )
    def test_resume_goes_on_bit_for_bit(self, settings):
        """State through JSON into a new learner of another seed: the next update gives the same weights."""
        replay = filled()
        first, second = learner(replay, seed=1, **settings), learner(replay, seed=2, **settings)
        first.update(7)
        arrays, meta = first.state()
        second.load_state(arrays, json.loads(json.dumps(meta)))
        assert first.update(5) == second.update(5)
        assert torch.equal(first._core.bank, second._core.bank)
        assert first.snapshot().to_bytes() == second.snapshot().to_bytes()

    def test_normaliser_stops_moving_after_its_steps(self):
        replay = filled(steps=40)
        subject = learner(replay, normalise_steps=200)
        subject.update(1)
        early = subject.snapshot().obs_mean
        replay.add_episode(np.full((41, OBS), 9.0), np.zeros((40, ACTIONS)), np.zeros((40, 3)), np.zeros((40, 3)))
        subject.update(1)
        moved = subject.snapshot().obs_mean
        replay.add_episode(np.full((41, OBS), 99.0), np.zeros((40, ACTIONS)), np.zeros((40, 3)), np.zeros((40, 3)))
        subject.update(1)
        assert not np.array_equal(early, moved)
        assert np.array_equal(moved, subject.snapshot().obs_mean)


class TestBadState:
    def test_other_networks_are_refused_and_nothing_changes(self):
        subject, other = learner(), learner(hidden=(16, 13))
        before = subject._core.bank.clone()
        with pytest.raises(ValueError, match=r"actor_sizes .*13"):
            subject.load_state(*other.state())
        assert torch.equal(subject._core.bank, before)

    def test_that_of_other_skills_is_refused_in_words(self):
        arrays, meta = learner(filled(skills=3)).state()
        with pytest.raises(ValueError, match=r"of 3 skills .* this run has 2; .*--skills"):
            learner(filled(skills=2)).load_state(arrays, meta)

    @pytest.mark.parametrize("damage", ["lost", "short", "nan", "meta"])
    def test_damaged_state_is_refused_and_nothing_changes(self, damage):
        subject = learner()
        arrays, meta = subject.state()
        if damage == "lost":
            del arrays["bank"]
        elif damage == "short":
            arrays["bank"] = arrays["bank"][:-1]
        elif damage == "nan":
            arrays["bank"][3] = np.nan
        else:
            del meta["rng"]
        before = subject.state()[0]
        with pytest.raises(ValueError, match="learner state"):
            subject.load_state(arrays, meta)
        assert all(np.array_equal(before[name], array) for name, array in subject.state()[0].items())


class TestConfig:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("target_subset", 3),
            ("reset_recovery", -1),
            ("cost_limit", 0.0),
            ("ki", -1.0),
            ("discount", 1.0),
            ("tau", 0.0),
            ("batch", 0),
            ("hidden", ()),
            ("learning_rate", math.nan),
            ("dropout", 1.0),
        ],
    )
    def test_settings_that_cannot_work_are_named(self, name, value):
        with pytest.raises(ValueError, match=name):
            SacConfig(**{name: value})

    def test_shapes_that_do_not_fit_the_replay_are_named(self):
        with pytest.raises(ValueError, match=r"commands \(2, 0\).*3 skills"):
            SacLearner(filled(), np.zeros((2, 0)), np.zeros((2, ACTIONS)))


class TestLearning:
    @pytest.mark.parametrize(
        "variant",
        [
            {},
            {"ensemble": 4, "target_subset": 2, "actor_mean": True, "layer_norm": True, "dropout": 0.01},
            {"batch_norm": True},
            {"reset_every": 700},
        ],
    )
    def test_a_point_learns_to_go_where_its_command_says(self, variant):
        """One-dimensional point, x' = x + 0.2 u, two skills that want x = +0.5 and -0.5; off-policy data of both."""
        rng, goals = np.random.default_rng(0), np.array([0.5, -0.5])
        replay = ReplayBuffer(3000, 1, 1, 2)
        for _ in range(60):
            x, u = np.empty((21, 1)), rng.uniform(-1, 1, (20, 1))
            x[0] = rng.uniform(-1, 1)
            for step in range(20):
                x[step + 1] = np.clip(x[step] + 0.2 * u[step], -1, 1)
            replay.add_episode(x, u, -np.abs(x[1:] - goals), np.zeros((20, 2), bool))
        settings = SacConfig(hidden=(32, 32), batch=64, learning_rate=3e-3, discount=0.9, tau=0.02, **variant)
        subject = SacLearner(replay, np.array([[1.0], [-1.0]]), np.zeros((2, 1)), settings)
        subject.update(1400)
        policy = MlpPolicy(subject.snapshot())
        for command, goal in ((1.0, 0.5), (-1.0, -0.5)):
            for start in (-0.9, 0.0, 0.9):
                x = start
                for _ in range(15):
                    x = float(np.clip(x + 0.2 * policy.act(np.array([x]), np.array([command]), np.zeros(1))[0], -1, 1))
                assert abs(x - goal) < 0.1


def test_the_actor_waits_for_its_critics():
    """While it waits, critics learn as ever; then it starts with the moments of what it saw."""
    patient, eager = (learner(actor_delay=delay) for delay in (10, 0))
    before = patient.snapshot().to_flat()
    for made in (patient, eager):
        made.update(10)
    np.testing.assert_array_equal(patient.snapshot().to_flat(), before)
    assert not np.array_equal(eager.snapshot().to_flat(), before)
    patient.update(1)
    moved = np.abs(patient.snapshot().to_flat() - before)
    assert 0 < moved.max() < 3.0 * patient.config.learning_rate, "one ordinary step of Adam"
