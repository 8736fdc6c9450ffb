"""Soft actor-critic with automatic temperature (Haarnoja et al. 2019, arXiv 1812.05905), for a family of skills.

One actor and one ensemble of critics serve K skills. Each drawn transition is given to one of them, drawn at random:
its command joins the observation, its reward and termination make the target, its prior shifts the actor's mean, and
its own temperature weighs the entropy. With K = 1, no command and a prior of zero this is plain soft actor-critic.

The gradients of critics, actor and temperatures are all taken at the same parameters and applied by one Adam step. (The
paper applies the critics' first; one pass of the critics then serves both losses here.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skills.learners.config import SacConfig
from skills.learners.gaussian import SquashedAction, squash
from skills.learners.learner import Arrays, Float32, Meta, Replay
from skills.learners.networks import Trunk, bind, initialise, parameter_count
from skills.policy import PolicyWeights, layers_from_flat, prior_preactivation

CHUNK = 16
"""Updates whose transitions are drawn in one go; more of them leave the cache."""
STATE_FORMAT = 1


class Minibatch(NamedTuple):
    """What one gradient update learns from; B transitions, each of one skill."""

    inputs: Tensor
    """Observation, command and action; the transitions, then their next observations, whose action is filled in by the
    update. Shape: (2 B, I + A)."""
    reward: Tensor
    """Shape: (B,)."""
    discount: Tensor
    """Gamma, or 0 where the step ended the episode. Shape: (B,)."""
    skill: Tensor
    """One-hot. Shape: (B, K)."""
    prior: Tensor
    """atanh of the skill's prior action, twice. Shape: (2 B, A)."""
    noise: Tensor
    """Standard normal. Shape: (2 B, A)."""


class SacLearner:
    """Soft actor-critic over a replay memory that somebody else fills."""

    def __init__(
        self,
        replay: Replay,
        commands: NDArray[np.floating[Any]],
        priors: NDArray[np.floating[Any]],
        config: SacConfig | None = None,
        seed: int = 0,
        skill_weights: Sequence[float] | None = None,
    ) -> None:
        """Make new networks.

        Args:
            replay: where transitions come from; its widths fix the networks'.
            commands: what each skill tells the policy to do; C may be 0. Shape: (K, C).
            priors: what each skill does when the network puts out zero, in [-1, 1]. Shape: (K, A).
            config: settings.
            seed: of the networks and of every draw.
            skill_weights: how often each skill is given a transition, relative to the others; None: equally often.

        Raises:
            ValueError: shapes disagree with the replay memory, or weights are negative, not finite or all zero.
        """
        self.config = config or SacConfig()
        self._replay = replay
        skills, actions = replay.skills, replay.actions
        if commands.ndim != 2 or len(commands) != skills or priors.shape != (skills, actions):
            raise ValueError(
                f"commands {commands.shape} and priors {priors.shape} do not fit the replay memory's {skills} skills "
                f"and {actions} actions; ({skills}, C) and ({skills}, {actions}) are needed"
            )
        self._commands = commands.astype(np.float32)
        self._priors = prior_preactivation(priors)
        self._skill_edges = _edges(skill_weights, skills)
        self._rng = np.random.default_rng(seed)
        self._generator = torch.Generator().manual_seed(seed)
        self._updates = 0
        self._refused = 0
        self._norm_count = 0
        self._mean = np.zeros(replay.obs_width, np.float32)
        self._std = np.ones(replay.obs_width, np.float32)
        c = self.config
        self._width = replay.obs_width + commands.shape[1]
        self._actions = actions
        self._entropy_target = -float(actions) if c.target_entropy is None else c.target_entropy
        self._build_parameters(skills)
        self._build_buffers(skills)

    @property
    def updates(self) -> int:
        """Gradient updates taken so far; refused ones do not count."""
        return self._updates

    def update(self, n: int) -> dict[str, float]:
        """Take ``n`` gradient updates.

        Returns:
            ``updates``, ``refused_updates`` (both since the start) and ``refused`` (1 if this call was undone); unless
            it was, also figures of the last minibatch: ``critic_loss``, ``q_mean``, ``entropy``, ``temperature`` (mean
            over skills), ``temperature_<k>`` and ``grad_norm``.

        Raises:
            ValueError: ``n`` is below 1, or the replay memory is empty.
        """
        if n < 1:
            raise ValueError(f"update was asked for {n} updates; at least 1 is needed")
        self._refresh_normaliser()
        self._good.copy_(self._bank)
        with torch.inference_mode():
            for done in range(0, n, CHUNK):
                for minibatch in self._draw(min(CHUNK, n - done)):
                    self._step(minibatch)
            finite = bool(torch.isfinite(self._bank).all())
            figures = self._figures()
        counts = {"refused": 0.0}
        if finite and all(map(math.isfinite, figures.values())):
            self._updates += n
        else:
            self._bank.copy_(self._good)
            self._refused += n
            figures, counts = {}, {"refused": 1.0}
        return {"updates": float(self._updates), "refused_updates": float(self._refused), **counts, **figures}

    def snapshot(self) -> PolicyWeights:
        """A copy of the actor; its version is the number of updates behind it."""
        flat = self._actor_flat.numpy().copy()
        return PolicyWeights(
            version=self._updates,
            layers=layers_from_flat(flat, self._actor_sizes),
            obs_mean=self._mean.copy(),
            obs_std=self._std.copy(),
            obs_clip=self.config.obs_clip,
            log_std_min=self.config.log_std_min,
            log_std_max=self.config.log_std_max,
        )

    def state(self) -> tuple[Arrays, Meta]:
        """Weights, target weights, temperatures, optimiser moments, normaliser, counters and random states."""
        arrays: Arrays = {
            "bank": self._bank.numpy().copy(),
            "obs_mean": self._mean.copy(),
            "obs_std": self._std.copy(),
            "torch_rng": self._generator.get_state().numpy().copy(),
        }
        meta: Meta = {
            "kind": "sac",
            "format": STATE_FORMAT,
            "updates": self._updates,
            "refused_updates": self._refused,
            "normaliser_count": self._norm_count,
            "actor_sizes": list(self._actor_sizes),
            "critic_sizes": list(self._critic_sizes),
            "ensemble": self.config.ensemble,
            "rng": self._rng.bit_generator.state,
        }
        return arrays, meta

    def load_state(self, arrays: Arrays, meta: Meta) -> None:
        """Continue from what `state` returned; learning rate and the like may differ, the networks may not.

        Raises:
            ValueError: the state is of another kind or shape, lacks a part, or holds NaN; nothing is changed then.
        """
        mine, my_meta = self.state()
        for key in ("kind", "format", "actor_sizes", "critic_sizes", "ensemble"):
            if meta.get(key) != my_meta[key]:
                raise ValueError(f"learner state has {key} {meta.get(key)!r}; this learner needs {my_meta[key]!r}")
        for name, array in mine.items():
            given = arrays.get(name)
            if given is None or given.shape != array.shape or given.dtype != array.dtype:
                found = "nothing" if given is None else f"{given.dtype} {given.shape}"
                raise ValueError(f"learner state has {found} as {name}; {array.dtype} {array.shape} is needed")
            if not np.isfinite(given).all():
                raise ValueError(f"learner state holds NaN or infinity in {name}; load an older checkpoint")
        lacking = my_meta.keys() - meta.keys()
        if lacking:
            raise ValueError(f"learner state lacks {sorted(lacking)}; load another checkpoint")
        self._rng.bit_generator.state = meta["rng"]
        self._generator.set_state(torch.from_numpy(arrays["torch_rng"].copy()))
        self._bank.copy_(torch.from_numpy(arrays["bank"].copy()))
        self._mean, self._std = arrays["obs_mean"].copy(), arrays["obs_std"].copy()
        self._updates, self._refused = int(meta["updates"]), int(meta["refused_updates"])
        self._norm_count = int(meta["normaliser_count"])

    def _build_parameters(self, skills: int) -> None:
        """One tensor holds all that learning changes: parameters, target critics, Adam's moments and step count."""
        c = self.config
        self._actor_sizes = (self._width, *c.hidden, 2 * self._actions)
        self._critic_sizes = (self._width + self._actions, *c.hidden, 1)
        actor = parameter_count(1, self._actor_sizes)
        critic = parameter_count(c.ensemble, self._critic_sizes)
        learned = actor + critic + skills
        self._bank = torch.zeros(3 * learned + critic + 1)
        self._good = self._bank.clone()
        parameters, self._target_flat, first, second, step = torch.split_with_sizes(
            self._bank, [learned, critic, learned, learned, 1]
        )
        self._grad = torch.zeros(learned)
        self._actor_flat, self._critic_flat, self._log_alpha = torch.split_with_sizes(
            parameters, [actor, critic, skills]
        )
        actor_grad, critic_grad, self._log_alpha_grad = torch.split_with_sizes(self._grad, [actor, critic, skills])
        self._actor = bind(self._actor_flat, 1, self._actor_sizes)
        self._actor_grads = bind(actor_grad, 1, self._actor_sizes)
        self._critic = bind(self._critic_flat, c.ensemble, self._critic_sizes)
        self._critic_grads = bind(critic_grad, c.ensemble, self._critic_sizes)
        self._target = bind(self._target_flat, c.ensemble, self._critic_sizes)
        initialise(self._actor, self._generator)
        initialise(self._critic, self._generator)
        for tensor in self._actor[-1]:
            tensor.mul_(c.output_gain)
        self._actor[-1].bias[..., self._actions :] += math.log(c.initial_std)
        self._log_alpha.fill_(math.log(c.initial_temperature))
        self._target_flat.copy_(self._critic_flat)
        parameters.grad = self._grad
        self._optimiser = torch.optim.Adam([parameters], lr=c.learning_rate, fused=True)
        self._optimiser.state[parameters] = {"step": step[0], "exp_avg": first, "exp_avg_sq": second}

    def _build_buffers(self, skills: int) -> None:
        """Everything an update writes, made once."""
        c, batch = self.config, self.config.batch
        self._actor_trunk = Trunk(1, self._actor_sizes, 2 * batch)
        self._critic_trunk, self._target_trunk = (
            Trunk(
                c.ensemble,
                self._critic_sizes,
                rows,
                layer_norm=c.layer_norm,
                dropout=c.dropout,
                generator=self._generator,
            )
            for rows in (2 * batch, batch)
        )
        self._shared = torch.zeros(c.ensemble, batch, c.hidden[0])
        self._actor_out_grad = torch.zeros(1, batch, 2 * self._actions)
        self._critic_out_grad = torch.zeros(c.ensemble, 2 * batch, 1)
        self._action_grad = torch.zeros(c.ensemble, batch, self._actions)
        # Torch aligns its memory the same way in every process; elsewhere a matrix product may round otherwise.
        self._inputs: Float32 = torch.zeros(CHUNK, 2 * batch, self._width + self._actions).numpy()
        self._one_hot = np.eye(skills, dtype=np.float32)
        self._log_prob = torch.zeros(batch)

    def _refresh_normaliser(self) -> None:
        c = self.config
        if not c.normalise or self._norm_count >= c.normalise_steps:
            return
        self._norm_count, mean, variance = self._replay.feature_moments()
        std = np.sqrt(variance)
        # A feature that hardly moves carries noise at most; scaling it up would only amplify that.
        std[std < 1e-3] = 1.0
        times = self._replay.obs_width // len(mean)
        self._mean = np.tile(mean, times).astype(np.float32)
        self._std = np.tile(std, times).astype(np.float32)

    def _draw(self, updates: int) -> list[Minibatch]:
        """Transitions for several updates, each given to one skill."""
        c, width, actions = self.config, self._width, self._actions
        shape = (updates, c.batch)
        drawn = self._replay.sample(self._rng, updates * c.batch)
        skill = np.searchsorted(self._skill_edges, self._rng.random(updates * c.batch), side="right")
        inputs = self._inputs[:updates]
        scale = 1.0 / self._std
        for half, obs in ((inputs[:, : c.batch], drawn.obs), (inputs[:, c.batch :], drawn.next_obs)):
            into = half[..., : len(scale)]
            np.subtract(obs.reshape(*shape, -1), self._mean, out=into)
            into *= scale
            np.clip(into, -c.obs_clip, c.obs_clip, out=into)
            half[..., len(scale) : width] = self._commands[skill].reshape(*shape, -1)
        inputs[:, : c.batch, width:] = drawn.action.reshape(*shape, -1)
        row = np.arange(len(skill))
        discount = c.discount * (1.0 - drawn.terminated[row, skill])
        prior = self._priors[skill].reshape(*shape, actions)
        tensors = (
            torch.from_numpy(inputs),
            torch.from_numpy(drawn.reward[row, skill].reshape(shape)),
            torch.from_numpy(discount.reshape(shape)),
            torch.from_numpy(self._one_hot[skill].reshape(*shape, -1)).clone(),
            torch.from_numpy(np.concatenate((prior, prior), axis=1)),
            torch.randn(updates, 2 * c.batch, actions, generator=self._generator),
        )
        return [Minibatch(*parts) for parts in zip(*(tensor.unbind(0) for tensor in tensors), strict=True)]

    def _step(self, minibatch: Minibatch) -> None:
        """One gradient update of everything."""
        batch = self.config.batch
        alpha = torch.mv(minibatch.skill, self._log_alpha.exp())
        drawn = self._act(minibatch)
        minibatch.inputs[batch:, self._width :] = drawn.action[batch:]
        target = self._soft_target(minibatch, alpha, drawn.log_prob[batch:])
        action_grad = self._learn_critic(minibatch, target, drawn.action[:batch])
        self._learn_actor(minibatch, alpha, action_grad, drawn)
        # Temperature, per skill: J(alpha) = -log(alpha) E[log pi + target entropy]  (eq. 18, in log alpha).
        self._log_prob = drawn.log_prob[:batch]
        excess = (self._log_prob + self._entropy_target).mul_(-1.0 / batch)
        torch.mv(minibatch.skill.T, excess, out=self._log_alpha_grad)
        self._optimiser.step()
        self._target_flat.lerp_(self._critic_flat, self.config.tau)

    def _act(self, minibatch: Minibatch) -> SquashedAction:
        """Actions of the current actor at the observations and the next ones."""
        first = self._actor[0]
        torch.baddbmm(first.bias, minibatch.inputs[None, :, : self._width], first.weight, out=self._actor_trunk.first)
        out = self._actor_trunk.forward(self._actor)[0]
        return squash(out, minibatch.prior, minibatch.noise, self.config.log_std_min, self.config.log_std_max)

    def _soft_target(self, minibatch: Minibatch, alpha: Tensor, log_prob: Tensor) -> Tensor:
        """Target y = r + gamma (1 - d) (min_j Q'_j(s', u') - alpha log pi(u' | s'))  (eqs. 2, 3, 5). Shape: (B,)."""
        batch, first = self.config.batch, self._target[0]
        inputs = minibatch.inputs[batch:].expand(self.config.ensemble, -1, -1)
        torch.baddbmm(first.bias, inputs, first.weight, out=self._target_trunk.first)
        value = self._target_trunk.forward(self._target)[..., 0].amin(0)
        return value.sub_(alpha * log_prob).mul_(minibatch.discount).add_(minibatch.reward)

    def _learn_critic(self, minibatch: Minibatch, target: Tensor, action: Tensor) -> Tensor:
        """Gradients of the critics' loss 1/2 E[(Q_j - y)^2]; returns d(-E[min_j Q_j(s, u)]) / du. Shape: (B, A)."""
        batch, width, trunk = self.config.batch, self._width, self._critic_trunk
        first, into = self._critic[0], self._critic_grads[0]
        inputs = minibatch.inputs[:batch].expand(self.config.ensemble, -1, -1)
        by_action = first.weight[:, width:]
        # The critics see each observation twice, with the stored action and with the actor's: its product is shared.
        torch.baddbmm(first.bias, inputs[..., :width], first.weight[:, :width], out=self._shared)
        torch.baddbmm(self._shared, inputs[..., width:], by_action, out=trunk.first[:, :batch])
        torch.baddbmm(self._shared, action.expand(self.config.ensemble, -1, -1), by_action, out=trunk.first[:, batch:])
        q = trunk.forward(self._critic)[..., 0]
        grad = self._critic_out_grad[..., 0]
        torch.sub(q[:, :batch], target, out=grad[:, :batch]).div_(batch)
        smallest = q[:, batch:].argmin(0, keepdim=True)
        grad[:, batch:].zero_().scatter_(0, smallest, -1.0 / batch)
        trunk.backward(self._critic, self._critic_grads, self._critic_out_grad, batch)
        learned, passed = trunk.first_grad.chunk(2, dim=1)
        torch.bmm(inputs.mT, learned, out=into.weight)
        torch.sum(learned, dim=1, keepdim=True, out=into.bias)
        return torch.bmm(passed, by_action.mT, out=self._action_grad).sum(0)

    def _learn_actor(self, minibatch: Minibatch, alpha: Tensor, by_action: Tensor, drawn: SquashedAction) -> None:
        """Gradients of the actor's loss E[alpha log pi(u | s) - min_j Q_j(s, u)]  (eq. 7), by reparametrisation."""
        batch, c = self.config.batch, self.config
        action, log_std, spread = (part[:batch] for part in (drawn.action, drawn.log_std, drawn.spread))
        share = alpha[:, None] / batch
        # d log pi / dx = 2 u through -log(1 - tanh(x)^2); d log pi / d log std = -1 besides what goes through x.
        by_x = by_action.addcmul_(by_action, action.square(), value=-1.0).addcmul_(action, share, value=2.0)
        grad = self._actor_out_grad[0]
        grad[:, : self._actions] = by_x
        inside = (log_std > c.log_std_min).logical_and_(log_std < c.log_std_max)
        torch.mul(by_x.mul_(spread).sub_(share), inside, out=grad[:, self._actions :])
        self._actor_trunk.backward(self._actor, self._actor_grads, self._actor_out_grad, batch)
        learned, into = self._actor_trunk.first_grad[:, :batch], self._actor_grads[0]
        torch.bmm(minibatch.inputs[None, :batch, : self._width].mT, learned, out=into.weight)
        torch.sum(learned, dim=1, keepdim=True, out=into.bias)

    def _figures(self) -> dict[str, float]:
        """What the last minibatch showed."""
        batch = self.config.batch
        error = self._critic_out_grad[:, :batch] * batch
        alpha = self._log_alpha.exp()
        return {
            "critic_loss": 0.5 * float(error.square().mean()),
            "q_mean": float(self._critic_trunk.out[:, :batch].mean()),
            "entropy": -float(self._log_prob.mean()),
            "temperature": float(alpha.mean()),
            "grad_norm": float(self._grad.norm()),
            **{f"temperature_{index}": value for index, value in enumerate(alpha.tolist())},
        }


def _edges(weights: Sequence[float] | None, skills: int) -> NDArray[np.float64]:
    """Inner edges of the unit interval's cuts whose lengths are the skills' shares. Shape: (K - 1,)."""
    share = np.ones(skills) if weights is None else np.asarray(weights, np.float64)
    if share.shape != (skills,) or not np.isfinite(share).all() or share.min() < 0 or share.sum() <= 0:
        raise ValueError(f"skill weights {weights} must be {skills} numbers of at least 0, not all 0")
    return np.cumsum(share / share.sum())[:-1]
