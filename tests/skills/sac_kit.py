"""Small learners on random data, and the arithmetic of an update once more by autograd."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from persistence.replay import ReplayBuffer
from skills.learners.batch_norm import EPSILON
from skills.learners.config import SacConfig
from skills.learners.minibatch import Minibatch
from skills.learners.sac import SacLearner

OBS, ACTIONS, SKILLS, COMMAND = 5, 2, 3, 2
SMALL = {"hidden": (16, 12), "batch": 8}


def filled(seed=0, skills=SKILLS, steps=40, reward=None, costs=0, history=1, advice=False):
    rng = np.random.default_rng(seed)
    replay = ReplayBuffer(500, OBS, ACTIONS, skills, history, costs, advice=advice)
    told = np.random.default_rng(seed + 2).uniform(-1, 1, (steps, skills, ACTIONS))
    told[::2, 0] = np.nan  # the first skill is advised at every other step
    for _ in range(4):
        rewards = rng.standard_normal((steps, skills)) if reward is None else np.full((steps, skills), reward)
        terminated = rng.random((steps, skills)) < 0.1
        features, actions = rng.standard_normal((steps + 1, OBS)), rng.uniform(-1, 1, (steps, ACTIONS))
        paid = np.random.default_rng(seed + 1).random((steps, costs)) if costs else None
        replay.add_episode(features, actions, rewards, terminated, costs=paid, advice=told if advice else None)
    return replay


def learner(replay=None, seed=0, skill_weights=None, mirrors=(), **settings):
    rng = np.random.default_rng(99)
    replay = replay or filled(advice="imitation" in settings)
    commands = rng.standard_normal((replay.skills, COMMAND))
    priors = rng.uniform(-0.5, 0.5, (replay.skills, ACTIONS))
    config = SacConfig(**{**SMALL, **settings})
    return SacLearner(replay, commands, priors, config, seed, skill_weights, mirrors)


def draw(subject, updates=1):
    """The minibatches that the learner would take next."""
    made, _ = subject._sampler.draw(updates, subject._rng, subject._generator, subject._lagrangian.multiplier)
    return made


def disturb(subject, change):
    """Let ``change`` edit every minibatch from now on. Returns a function that ends it."""
    real = subject._sampler.draw

    def changed(*args):
        made, size = real(*args)
        return [change(minibatch) for minibatch in made], size

    subject._sampler.draw = changed
    return lambda: setattr(subject._sampler, "draw", real)


def copy_of(minibatch):
    return Minibatch(*(tensor.clone() for tensor in minibatch))


def mlp(layers, x, layer_norm=False, normalise=lambda index, x: x):
    """The network again, the plain way. x: (rows, in) or (members, rows, in). Returns (members, rows, out)."""
    for index, (weight, bias) in enumerate(layers):
        x = torch.matmul(x, weight) + bias
        if index < len(layers) - 1:
            x = functional.layer_norm(x, x.shape[-1:]) if layer_norm else x
            x = normalise(index, torch.relu(x))
    return x


def pairs(layers):
    """Weight and bias of each layer."""
    return [(layer.weight, layer.bias) for layer in layers]


def by_batch(_index, x):
    """Plain batch normalisation over rows."""
    return (x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + EPSILON).sqrt()


def by_running(core):
    """Normalisation by the running statistics as they are now."""
    kept = [(mean.clone(), variance.clone()) for mean, variance in core._batch_norm._running]
    return lambda index, x: (x - kept[index][0]) / (kept[index][1] + EPSILON).sqrt()


def reference(subject, m, chosen=None):
    """Target and gradients of the three losses by autograd, written as in the papers."""
    c, core, batch = subject.config, subject._core, subject.config.batch
    norm, first = c.layer_norm, core._actions
    actor, critic = (
        [(layer.weight.clone().requires_grad_(), layer.bias.clone().requires_grad_()) for layer in layers]
        for layers in (core.actor, core.critic)
    )
    log_alpha = core.log_alpha.clone().requires_grad_()
    alpha = (m.skill @ log_alpha.exp()).detach()
    state, stored = m.inputs[batch : 2 * batch, first:-1], m.inputs[batch : 2 * batch, :first]
    following = m.inputs[2 * batch :, first:-1]

    def act(x, prior, noise):
        mean, raw = mlp(actor, x)[0].chunk(2, -1)
        normal = torch.distributions.Normal(mean + prior, raw.clamp(c.log_std_min, c.log_std_max).exp())
        pre = normal.mean + normal.stddev * noise
        log_prob = normal.log_prob(pre) - torch.log1p(-pre.tanh().square())
        return pre.tanh(), log_prob.sum(-1)

    u_next, log_next = (part.detach() for part in act(following, m.prior[batch:], m.noise[batch:]))
    if c.batch_norm:
        both = torch.cat((torch.cat((stored, state), -1), torch.cat((u_next, following), -1)))
        q, q_next = mlp(critic, both, norm, by_batch)[..., 0].split(batch, 1)
        frozen = by_running(core)
    else:
        q = mlp(critic, torch.cat((stored, state), -1), norm)[..., 0]
        q_next, frozen = mlp(pairs(core.target), torch.cat((u_next, following), -1), norm)[..., 0], lambda index, x: x
    q_next = q_next.detach() if chosen is None else q_next.detach()[chosen]
    target = m.reward + m.discount * (q_next.min(0).values - alpha * log_next)
    critic_grads = torch.autograd.grad(0.5 * (q - target).square().mean(-1).sum(), [t for la in critic for t in la])
    u, log_prob = act(state, m.prior[:batch], m.noise[:batch])
    q_pi = mlp(critic, torch.cat((u, state), -1), norm, frozen)[..., 0]
    q_pi = q_pi.mean(0) if c.actor_mean else q_pi.min(0).values
    weight = (c.imitation * m.advised * q.min(0).values.abs().mean() / first).detach()
    loss = alpha * log_prob - q_pi + weight * (u - m.advice).square().sum(-1)
    actor_grads = torch.autograd.grad(loss.mean(), [t for la in actor for t in la])
    excess = (log_prob + core.entropy_target).detach()
    (alpha_grad,) = torch.autograd.grad(-((m.skill @ log_alpha) * excess).mean(), [log_alpha])
    return target, [*actor_grads, *critic_grads, alpha_grad]


def gradients(subject):
    """What the last update wrote, in the order of `reference`."""
    core = subject._core
    parts = [t for layers in (core.actor_grads, core.critic_grads) for layer in pairs(layers) for t in layer]
    return [*parts, core.log_alpha_grad]
