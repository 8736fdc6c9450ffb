"""Soft actor-critic: its arithmetic against autograd and hand-made numbers, its repeatability, and that it learns."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from persistence.replay import ReplayBuffer
from skills.learners.config import SacConfig
from skills.learners.gaussian import squash
from skills.learners.networks import Trunk, bind, initialise, parameter_count
from skills.learners.sac import Minibatch, SacLearner
from skills.policy import MlpPolicy

torch.set_num_threads(1)
OBS, ACTIONS, SKILLS, COMMAND = 5, 2, 3, 2
SMALL = {"hidden": (16, 12), "batch": 8}


def filled(seed=0, skills=SKILLS, steps=40, reward=None):
    rng = np.random.default_rng(seed)
    replay = ReplayBuffer(500, OBS, ACTIONS, skills)
    for _ in range(4):
        rewards = rng.standard_normal((steps, skills)) if reward is None else np.full((steps, skills), reward)
        terminated = rng.random((steps, skills)) < 0.1
        replay.add_episode(
            rng.standard_normal((steps + 1, OBS)), rng.uniform(-1, 1, (steps, ACTIONS)), rewards, terminated
        )
    return replay


def learner(replay=None, seed=0, skill_weights=None, **settings):
    rng = np.random.default_rng(99)
    replay = replay or filled()
    commands = rng.standard_normal((replay.skills, COMMAND))
    priors = rng.uniform(-0.5, 0.5, (replay.skills, ACTIONS))
    return SacLearner(replay, commands, priors, SacConfig(**{**SMALL, **settings}), seed, skill_weights)


def mlp(layers, x, layer_norm=False):
    """The network again, the plain way. x: (rows, in) or (members, rows, in). Returns (members, rows, out)."""
    for index, (weight, bias) in enumerate(layers):
        x = torch.matmul(x, weight) + bias
        if index < len(layers) - 1:
            x = functional.layer_norm(x, x.shape[-1:]) if layer_norm else x
            x = torch.relu(x)
    return x


def reference(subject, m):
    """Gradients of the three losses by autograd, written as in the paper."""
    c, batch, width = subject.config, subject.config.batch, subject._width
    norm = c.layer_norm
    actor, critic = (
        [type(layer)(*(tensor.clone().requires_grad_() for tensor in layer)) for layer in layers]
        for layers in (subject._actor, subject._critic)
    )
    log_alpha = subject._log_alpha.clone().requires_grad_()
    alpha = (m.skill @ log_alpha.exp()).detach()
    state, stored = m.inputs[:batch, :width], m.inputs[:batch, width:]
    following = m.inputs[batch:, :width]

    def draw(x, prior, noise):
        mean, raw = mlp(actor, x)[0].chunk(2, -1)
        normal = torch.distributions.Normal(mean + prior, raw.clamp(c.log_std_min, c.log_std_max).exp())
        pre = normal.mean + normal.stddev * noise
        log_prob = normal.log_prob(pre) - torch.log1p(-pre.tanh().square())
        return pre.tanh(), log_prob.sum(-1)

    with torch.no_grad():
        u_next, log_next = draw(following, m.prior[batch:], m.noise[batch:])
        q_next = mlp(subject._target, torch.cat((following, u_next), -1), norm)[..., 0].min(0).values
        target = m.reward + m.discount * (q_next - alpha * log_next)
    q = mlp(critic, torch.cat((state, stored), -1), norm)[..., 0]
    critic_grads = torch.autograd.grad(0.5 * (q - target).square().mean(-1).sum(), [t for la in critic for t in la])
    u, log_prob = draw(state, m.prior[:batch], m.noise[:batch])
    q_pi = mlp(critic, torch.cat((state, u), -1), norm)[..., 0].min(0).values
    actor_grads = torch.autograd.grad((alpha * log_prob - q_pi).mean(), [t for la in actor for t in la])
    excess = (log_prob + subject._entropy_target).detach()
    (alpha_grad,) = torch.autograd.grad(-((m.skill @ log_alpha) * excess).mean(), [log_alpha])
    return target, [*actor_grads, *critic_grads, alpha_grad]


class TestGradients:
    @pytest.mark.parametrize(
        "settings", [{}, {"layer_norm": True}, {"ensemble": 5}, {"hidden": (7,)}, {"hidden": (6, 5, 4)}, {"tau": 1.0}]
    )
    def test_hand_written_gradients_are_those_of_autograd(self, settings):
        """All gradients of one update against torch's own, at parameters that are not those of the start."""
        subject = learner(output_gain=1.0, normalise=False, **settings)
        subject.update(3)
        (minibatch,) = subject._draw(1)
        _, wanted = reference(subject, Minibatch(*(tensor.clone() for tensor in minibatch)))
        subject._step(minibatch)
        found = [t for layers in (subject._actor_grads, subject._critic_grads) for layer in layers for t in layer]
        for have, want in zip([*found, subject._log_alpha_grad], wanted, strict=True):
            torch.testing.assert_close(have, want, rtol=1e-4, atol=1e-6)

    def test_clamped_log_std_passes_no_gradient(self):
        subject = learner(normalise=False, output_gain=1.0, initial_std=0.5, log_std_max=-0.7)
        (minibatch,) = subject._draw(1)
        _, wanted = reference(subject, Minibatch(*(tensor.clone() for tensor in minibatch)))
        subject._step(minibatch)
        torch.testing.assert_close(subject._actor_grads[-1].weight, wanted[4], rtol=1e-4, atol=1e-6)

    def test_dropout_gradient_is_that_of_the_masked_network(self):
        """With its masks frozen the network is a plain one; autograd through the same masks must agree."""
        sizes, generator = (4, 9, 8, 1), torch.Generator().manual_seed(3)
        flat, flat_grad = (torch.zeros(parameter_count(2, sizes)) for _ in range(2))
        layers, grads = bind(flat, 2, sizes), bind(flat_grad, 2, sizes)
        initialise(layers, generator)
        trunk = Trunk(2, sizes, 6, layer_norm=True, dropout=0.5, generator=generator)
        pre = torch.randn(2, 6, 9, generator=generator)
        trunk.first.copy_(pre)
        trunk.forward(layers)
        x = pre.clone().requires_grad_()
        hidden = x
        for mask, layer in zip(trunk._masks, [None, layers[1]], strict=True):
            hidden = hidden if layer is None else hidden @ layer.weight + layer.bias
            hidden = torch.relu(functional.layer_norm(hidden * mask, hidden.shape[-1:]))
        out = hidden @ layers[2].weight + layers[2].bias
        torch.testing.assert_close(trunk.out, out)
        weight = torch.randn(out.shape, generator=generator)
        trunk.backward(layers, grads, weight, 6)
        torch.testing.assert_close(trunk.first_grad, torch.autograd.grad((out * weight).sum(), x)[0])
        assert {round(float(value), 6) for value in trunk._masks[0].unique()} == {0.0, 2.0}


class TestTarget:
    def test_soft_bellman_target_by_hand(self):
        """Critics that always say 3 and 5, alpha 0.5, log pi -2, gamma 0.9: 1 + 0.9 (3 + 1) = 4.6; at the end: 1."""
        subject = learner(normalise=False, batch=2, discount=0.9)
        for weight, bias in subject._target:
            weight.zero_()
            bias.zero_()
        subject._target[-1].bias[:, 0, 0] = torch.tensor([3.0, 5.0])
        (minibatch,) = subject._draw(1)
        minibatch = minibatch._replace(reward=torch.ones(2), discount=torch.tensor([0.9, 0.0]))
        target = subject._soft_target(minibatch, torch.full((2,), 0.5), torch.full((2,), -2.0))
        torch.testing.assert_close(target, torch.tensor([4.6, 1.0]))

    def test_truncation_bootstraps_and_termination_does_not(self):
        replay = ReplayBuffer(50, OBS, ACTIONS, 1)
        for end in (False, True):
            terminated = np.full((5, 1), end)
            replay.add_episode(np.ones((6, OBS)), np.zeros((5, ACTIONS)), np.full((5, 1), float(end)), terminated)
        (minibatch,) = learner(replay, batch=64)._draw(1)
        assert minibatch.discount[minibatch.reward == 1].unique().tolist() == [0.0]
        assert minibatch.discount[minibatch.reward == 0].unique().tolist() == [pytest.approx(0.99)]

    def test_polyak_moves_the_target_by_tau(self):
        subject = learner(tau=0.25, learning_rate=0.01)
        before = subject._target_flat.clone()
        subject.update(1)
        torch.testing.assert_close(subject._target_flat, 0.75 * before + 0.25 * subject._critic_flat)


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
        start = subject._log_alpha.clone()
        subject.update(20)
        assert ((subject._log_alpha > start) == rises).all()

    def test_a_skill_that_is_never_drawn_keeps_its_temperature(self):
        subject = learner(skill_weights=(1.0, 0.0, 1.0))
        start = subject._log_alpha.clone()
        subject.update(10)
        moved = (subject._log_alpha != start).tolist()
        assert moved == [True, False, True]


class TestRelabelling:
    def test_reward_end_command_and_prior_are_those_of_the_drawn_skill(self):
        """Rewards hold the skill's index and skill 2 always ends, so each part tells which skill it was made for."""
        replay = ReplayBuffer(100, OBS, ACTIONS, SKILLS)
        rewards = np.tile(np.arange(SKILLS, dtype=float), (50, 1))
        replay.add_episode(np.ones((51, OBS)), np.zeros((50, ACTIONS)), rewards, rewards == 2)
        subject = learner(replay, batch=300)
        (m,) = subject._draw(1)
        skill = m.skill.argmax(-1)
        assert m.reward.tolist() == skill.tolist()
        assert (m.discount == 0).tolist() == (skill == 2).tolist()
        for half in (m.inputs[:300], m.inputs[300:]):
            assert np.array_equal(half[:, OBS : OBS + COMMAND], subject._commands[skill])
        assert np.array_equal(m.prior, np.tile(subject._priors[skill], (2, 1)))
        assert np.bincount(skill, minlength=3).min() > 70

    @pytest.mark.parametrize("weights", [(1.0, -1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 1.0), (1.0, math.nan, 1.0)])
    def test_bad_skill_weights_are_refused(self, weights):
        with pytest.raises(ValueError, match="skill weights"):
            learner(skill_weights=weights)


class TestPolicyParity:
    def test_numpy_policy_equals_the_torch_actor(self):
        """Same observation, command, prior and noise: equal actions to 1e-5, for every skill, normaliser included."""
        replay = filled()
        subject = learner(replay, batch=32, output_gain=1.0)
        subject.update(30)
        policy = MlpPolicy(subject.snapshot())
        rng = copy.deepcopy(subject._rng)
        (m,) = subject._draw(1)
        raw = replay.sample(rng, 32)
        drawn = subject._act(m)
        rng = np.random.default_rng(99)
        commands, priors = rng.standard_normal((SKILLS, COMMAND)), rng.uniform(-0.5, 0.5, (SKILLS, ACTIONS))
        for row, skill in enumerate(m.skill.argmax(-1).tolist()):
            act = policy.act(raw.obs[row], commands[skill], priors[skill], m.noise[row].numpy())
            np.testing.assert_allclose(act, drawn.action[row], atol=1e-5)

    def test_a_new_policy_acts_like_its_prior(self):
        subject = learner(output_gain=0.0)
        subject._actor[-1].bias.zero_()
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
    @pytest.mark.parametrize("settings", [{}, {"layer_norm": True, "dropout": 0.1}])
    def test_same_seed_and_data_give_the_same_bits(self, settings):
        first, second, other = (learner(seed=seed, **settings) for seed in (3, 3, 4))
        for subject in (first, second, other):
            subject.update(25)
        assert torch.equal(first._bank, second._bank)
        assert not torch.equal(first._bank, other._bank)

    @pytest.mark.parametrize("settings", [{}, {"layer_norm": True, "dropout": 0.1}])
    def test_resume_goes_on_bit_for_bit(self, settings):
        """State through JSON into a new learner of another seed: the next update gives the same weights."""
        replay = filled()
        first, second = learner(replay, seed=1, **settings), learner(replay, seed=2, **settings)
        first.update(7)
        arrays, meta = first.state()
        second.load_state(arrays, json.loads(json.dumps(meta)))
        assert first.update(5) == second.update(5)
        assert torch.equal(first._bank, second._bank)
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
        before = subject._bank.clone()
        with pytest.raises(ValueError, match=r"actor_sizes .*13"):
            subject.load_state(*other.state())
        assert torch.equal(subject._bank, before)

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


class TestNonFinite:
    @pytest.mark.parametrize("poison", [math.nan, math.inf])
    def test_a_broken_update_is_refused_and_the_last_good_state_returns(self, poison):
        subject = learner()
        subject.update(5)
        good = subject._bank.clone()
        draw = subject._draw
        subject._draw = lambda n: [m._replace(reward=torch.full_like(m.reward, poison)) for m in draw(n)]
        figures = subject.update(3)
        assert (figures["refused"], figures["refused_updates"], figures["updates"]) == (1.0, 3.0, 5.0)
        assert torch.equal(subject._bank, good)
        assert subject.snapshot().finite
        subject._draw = draw
        figures = subject.update(2)
        assert (figures["refused"], figures["updates"]) == (0.0, 7.0)
        assert all(map(math.isfinite, figures.values()))


class TestConfig:
    @pytest.mark.parametrize(
        ("name", "value"),
        [("discount", 1.0), ("tau", 0.0), ("batch", 0), ("hidden", ()), ("learning_rate", math.nan), ("dropout", 1.0)],
    )
    def test_settings_that_cannot_work_are_named(self, name, value):
        with pytest.raises(ValueError, match=name):
            SacConfig(**{name: value})

    def test_shapes_that_do_not_fit_the_replay_are_named(self):
        with pytest.raises(ValueError, match=r"commands \(2, 0\).*3 skills"):
            SacLearner(filled(), np.zeros((2, 0)), np.zeros((2, ACTIONS)))


class TestLearning:
    def test_a_point_learns_to_go_where_its_command_says(self):
        """One-dimensional point, x' = x + 0.2 u, two skills that want x = +0.5 and -0.5; off-policy data of both."""
        rng, goals = np.random.default_rng(0), np.array([0.5, -0.5])
        replay = ReplayBuffer(3000, 1, 1, 2)
        for _ in range(60):
            x, u = np.empty((21, 1)), rng.uniform(-1, 1, (20, 1))
            x[0] = rng.uniform(-1, 1)
            for step in range(20):
                x[step + 1] = np.clip(x[step] + 0.2 * u[step], -1, 1)
            replay.add_episode(x, u, -np.abs(x[1:] - goals), np.zeros((20, 2), bool))
        settings = SacConfig(hidden=(32, 32), batch=64, learning_rate=3e-3, discount=0.9, tau=0.02)
        subject = SacLearner(replay, np.array([[1.0], [-1.0]]), np.zeros((2, 1)), settings)
        subject.update(1500)
        policy = MlpPolicy(subject.snapshot())
        for command, goal in ((1.0, 0.5), (-1.0, -0.5)):
            for start in (-0.9, 0.0, 0.9):
                x = start
                for _ in range(15):
                    x = float(np.clip(x + 0.2 * policy.act(np.array([x]), np.array([command]), np.zeros(1))[0], -1, 1))
                assert abs(x - goal) < 0.1
