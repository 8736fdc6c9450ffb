"""A safety critic and a recovery policy, learned beside the task from the same transitions.

Recovery RL (Thananjeyan et al. 2021, arXiv 2010.15920): the critic is the discounted probability that harm comes of an
action, if the task policy goes on after it; the recovery policy is the action that it says is safest. Here the critics
are an ensemble trained by cross-entropy, which is a proper score of probabilities, each towards a target of its own, so
that they differ where there is little data.

A critic judges places, and a model, learned from the same transitions, says where an action leads. A critic of actions
knows those that were taken: where harm is, only what leads there has been, so that nothing tells it the way back. The
place behind the robot is one that it has been to.
"""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from skills.learners.config import SacConfig
from skills.learners.ensemble_network import EnsembleNetwork
from skills.learners.learner import Arrays, Meta, Replay
from skills.learners.minibatch import CHUNK, Aim, Minibatch, Sampler
from skills.policy import PolicyWeights, prior_preactivation
from skills.shield import ShieldWeights
from skills.symmetry import Mirror

_ALARM_MINIBATCHES = 16
"""Newest minibatches that say how much of what the task policy does counts as too risky."""
_LARGEST_THRESHOLD = 0.99
RECOVERY_EVERY = 2
"""Updates of the critic for one of the recovery policy, which is the dearer one."""
_INNOCENCE = 2.0
"""How far below the threshold, in log-odds, a critic begins that has seen no harm yet."""
_LEAST_CHANGE = 1e-3
"""Of a normalised feature in one step; what changes less is noise."""

Harm = Callable[[NDArray[np.float32]], NDArray[np.bool_]]
"""Observations, shape (B, O), to whether they are harm, shape (B,)."""


@dataclass(frozen=True, kw_only=True)
class RiskConfig:
    """Settings of `RiskLearner`."""

    hidden: tuple[int, ...] = (128, 128)
    """Widths of the hidden layers of critics and recovery policy."""
    ensemble: int = 3
    """Number of critics."""
    batch: int = 256
    """Transitions per update."""
    discount: float = 0.8
    """Gamma: harm that is k steps away counts gamma^k."""
    threshold: float = 0.3
    """Least risk from which on the recovery policy acts."""
    alarm_share: float = 1.0
    """Share of what the task policy would do at stored steps that may count as too risky: where more of it is above the
    threshold, the threshold rises."""
    caution: float = 1.0
    """Standard deviations of the ensemble that are added to its mean."""
    learning_rate: float = 3e-4
    tau: float = 0.005
    """Share of the critics that moves into the target critics at each update."""
    normalise_steps: int = 20_000
    """Steps after which mean and standard deviation of the features are kept."""
    obs_clip: float = 10.0
    """Bound of a normalised feature, in standard deviations."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot work."""
        if not (0.0 < self.discount < 1.0 and 0.0 < self.threshold < 1.0):
            raise ValueError(f"discount is {self.discount} and threshold {self.threshold}; both must be in (0, 1)")
        if not 0.0 < self.alarm_share <= 1.0:
            raise ValueError(f"alarm_share is {self.alarm_share}; it must be above 0 and at most 1")
        if self.ensemble < 1 or self.batch < 1 or not self.hidden:
            raise ValueError("ensemble and batch must be at least 1, and hidden must have a layer")


class RiskLearner:
    """Learns from a replay memory that somebody else fills."""

    STATE_FORMAT = 3
    """Of `state`; older ones cannot be gone on from."""

    def __init__(
        self,
        replay: Replay,
        commands: NDArray[np.floating[Any]],
        priors: NDArray[np.floating[Any]],
        recovery_prior: NDArray[np.floating[Any]],
        config: RiskConfig | None = None,
        seed: int = 0,
        mirrors: Sequence[Mirror] = (),
        harm: Harm | None = None,
        aim: Aim | None = None,
    ) -> None:
        """Make new networks.

        Args:
            replay: where transitions come from.
            commands: what each skill tells the task policy to do; C may be 0. Shape: (K, C).
            priors: what each skill does when its network puts out zero. Shape: (K, A).
            recovery_prior: the same of the recovery policy, whatever the skill. Shape: (A,).
            config: settings.
            seed: of the networks and of every draw.
            mirrors: mirror images under which a transition is as true as the original.
            harm: tells harm from the observation that a step leads to; None: what ``terminated`` says is harm.
            aim: turns commands into what the task policy is told of them at an observation; None: the commands. Where
                the model looks ahead, they stay what they are in the first step.

        Raises:
            ValueError: shapes disagree with the replay memory.
        """
        self.config = c = config or RiskConfig()
        self.updates = 0
        """Gradient updates taken so far."""
        self.refused_reason = ""
        """Why the last updates were undone; empty if they were not."""
        self._actions = replay.actions
        self._harm = harm
        self._threshold = c.threshold
        self._rng = np.random.default_rng(seed)
        self._generator = torch.Generator().manual_seed(seed)
        drawing = SacConfig(batch=c.batch, discount=c.discount, normalise_steps=c.normalise_steps, obs_clip=c.obs_clip)
        self._sampler = Sampler(replay, commands, priors, drawing, mirrors, None, aim)
        self._recovery_prior = torch.as_tensor(prior_preactivation(recovery_prior))
        width, self._obs = self._sampler.input_width, replay.obs_width
        rows = len(replay.feature_moments()[1])
        self._model = EnsembleNetwork(c.ensemble, (self._actions + self._obs, *c.hidden, rows), self._generator)
        self._change = torch.zeros(rows)
        """Mean square of how much each feature changes in a step: the model's unit."""
        self._critic = EnsembleNetwork(c.ensemble, (width, *c.hidden, 1), self._generator)
        with torch.no_grad():
            self._critic.biases[-1].fill_(math.log(c.threshold / (1.0 - c.threshold)) - _INNOCENCE)
        self._target = copy.deepcopy(self._critic).requires_grad_(False)
        self._actor = EnsembleNetwork(1, (width, *c.hidden, 2 * self._actions), self._generator)
        with torch.no_grad():
            self._actor.weights[-1].mul_(0.1)
            self._actor.biases[-1].mul_(0.1)
        learned = [*self._critic.parameters(), *self._model.parameters()]
        self._critic_adam = torch.optim.Adam(learned, c.learning_rate, fused=True)
        self._actor_adam = torch.optim.Adam(self._actor.parameters(), c.learning_rate, fused=True)

    def update(self, n: int, policy: PolicyWeights) -> dict[str, float]:
        """Take ``n`` gradient updates under a task policy.

        Returns:
            ``risk_loss`` (cross-entropy less that of the targets themselves), ``risk_model_loss`` (mean square error of
            the model over the mean square of what it predicts), ``risk_mean`` and ``risk_harm`` (mean
            risk of the last minibatch, and share of it that ended in harm), ``risk_threshold``. Nothing without
            updates, or where they led to numbers that are not finite and were undone.
        """
        self.refused_reason = ""
        if n <= 0:
            return {}
        self._sampler.refresh_normaliser()
        good = self.state()
        task = _TaskPolicy(policy, self._sampler)
        figures: dict[str, Tensor] = {}
        ahead: deque[Tensor] = deque(maxlen=_ALARM_MINIBATCHES)
        for done in range(0, n, CHUNK):
            minibatches = self._sampler.draw(min(CHUNK, n - done), self._rng, self._generator)[0]
            for turn, minibatch in enumerate(minibatches, self.updates + done):
                figures, risks = self._step(minibatch, task, turn)
                ahead.append(risks)
        if not all(bool(torch.isfinite(value)) for value in (*figures.values(), *(risk.sum() for risk in ahead))):
            self.load_state(*good)
            self.refused_reason = f"the safety critic's numbers stopped being finite within {n} updates"
            return {}
        self.updates += n
        self._threshold = max(self.config.threshold, self._alarm_threshold(torch.cat(list(ahead))))
        return {name: float(value) for name, value in figures.items()} | {"risk_threshold": self._threshold}

    def snapshot(self) -> ShieldWeights:
        """A copy of critics and recovery policy as they are now."""
        recovery = PolicyWeights(
            version=self.updates,
            layers=tuple((weight[0], bias[0, 0]) for weight, bias in self._actor.arrays()),
            obs_mean=self._sampler.mean.copy(),
            obs_std=self._sampler.std.copy(),
            obs_clip=self.config.obs_clip,
        )
        unit = self._unit().numpy()
        *inner, (weight, bias) = self._model.arrays()
        return ShieldWeights(
            model=(*inner, (weight * unit, bias * unit)),
            critic=self._critic.arrays(),
            recovery=recovery,
            caution=self.config.caution,
            threshold=self._threshold,
        )

    def state(self) -> tuple[Arrays, Meta]:
        """Networks, optimisers, normaliser and random states; the second part is JSON."""
        # A file of tensors knows no scalars.
        arrays: Arrays = {name: np.atleast_1d(tensor.detach().numpy()).copy() for name, tensor in self._tensors()}
        arrays["obs_mean"], arrays["obs_std"] = self._sampler.mean.copy(), self._sampler.std.copy()
        arrays["torch_rng"] = self._generator.get_state().numpy().copy()
        meta: Meta = {
            "kind": "risk",
            "format": self.STATE_FORMAT,
            "updates": self.updates,
            "threshold": self._threshold,
            "normaliser_count": self._sampler.norm_count,
            "rng": self._rng.bit_generator.state,
        }
        return arrays, meta

    def load_state(self, arrays: Arrays, meta: Meta) -> None:
        """Continue from what `state` returned.

        Raises:
            ValueError: the state is of another kind or other shapes, or not finite; nothing is changed then.
        """
        mine, my_meta = self.state()
        for key in ("kind", "format"):
            if meta.get(key) != my_meta[key]:
                raise ValueError(f"risk state has {key} {meta.get(key)!r}; this learner needs {my_meta[key]!r}")
        if lacking := sorted(my_meta.keys() - meta.keys()):
            raise ValueError(f"risk state lacks {lacking}; load another checkpoint")
        for name, array in mine.items():
            given = arrays.get(name)
            if given is None or given.shape != array.shape or not np.isfinite(given).all():
                raise ValueError(f"risk state has no finite {array.shape} array {name}; load an older checkpoint")
        with torch.no_grad():
            for name, tensor in self._tensors():
                tensor.copy_(torch.from_numpy(arrays[name].copy()).reshape(tensor.shape))
        self._sampler.mean, self._sampler.std = arrays["obs_mean"].copy(), arrays["obs_std"].copy()
        self._sampler.norm_count, self.updates = int(meta["normaliser_count"]), int(meta["updates"])
        self._threshold = float(meta["threshold"])
        self._generator.set_state(torch.from_numpy(arrays["torch_rng"].copy()))
        self._rng.bit_generator.state = meta["rng"]

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        """All that a gradient update changes, by name."""
        yield "change", self._change
        networks = {"model": self._model, "critic": self._critic, "target": self._target, "actor": self._actor}
        for name, network in networks.items():
            for index, parameter in enumerate(network.parameters()):
                yield f"{name}.{index}", parameter
        for name, adam in (("critic_adam", self._critic_adam), ("actor_adam", self._actor_adam)):
            for index, parameter in enumerate(adam.param_groups[0]["params"]):
                moments = adam.state[parameter]
                if not moments:  # before the first update, as torch itself would begin
                    moments["step"] = torch.tensor(0.0)
                    moments["exp_avg"], moments["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
                for part in ("step", "exp_avg", "exp_avg_sq"):
                    yield f"{name}.{index}.{part}", moments[part]

    def _alarm_threshold(self, risks: Tensor) -> float:
        """The risk that so many of these actions exceed as may count as too risky; below 1, which none exceeds."""
        share = self.config.alarm_share
        return min(float(torch.quantile(risks, 1.0 - share)), _LARGEST_THRESHOLD) if share < 1.0 else 0.0

    def _step(self, minibatch: Minibatch, task: _TaskPolicy, turn: int) -> tuple[dict[str, Tensor], Tensor]:
        """One update.

        Args:
            minibatch: what it learns from.
            task: the task policy.
            turn: number of the update.

        Returns:
            Figures, and the risk of what the task policy does next. Shape of that: (B,).
        """
        c, actions = self.config, self._actions
        acted, next_obs = minibatch.inputs[c.batch : 2 * c.batch, :-1], minibatch.inputs[2 * c.batch :, actions:-1]
        obs = acted[:, actions:]
        harm = self._harmed(minibatch, next_obs)
        changes = self._changes(obs, acted[:, :actions])
        model_loss = self._model_loss(changes, obs, next_obs)
        with torch.no_grad():
            # Where it was expected to lead, not where it led: what a wall half a step away means, chance decides.
            expected = self._changed(obs, changes)
            following = task.act(next_obs, minibatch.prior[c.batch :], minibatch.noise[c.batch :])
            ahead = self._target(self._next(next_obs, following))[..., 0]
            later = torch.sigmoid(ahead)
            target = harm + (1.0 - harm) * c.discount * later
        log_odds = self._critic(expected)[..., 0]
        loss = nn.functional.binary_cross_entropy_with_logits(log_odds, target)
        self._critic_adam.zero_grad(set_to_none=True)
        (loss + model_loss).backward()  # type: ignore[no-untyped-call]
        self._critic_adam.step()
        if turn % RECOVERY_EVERY == 0:
            self._learn_recovery(obs)
        with torch.no_grad():
            torch._foreach_lerp_(list(self._target.parameters()), list(self._critic.parameters()), c.tau)
            unavoidable = (torch.special.entr(target) + torch.special.entr(1.0 - target)).mean()
            figures = {
                "risk_loss": loss.detach() - unavoidable,
                "risk_model_loss": model_loss.detach(),
                "risk_mean": torch.sigmoid(log_odds).mean(),
                "risk_harm": harm.mean(),
            }
            # Where harm has been done there is nothing left to warn of.
            return figures, torch.sigmoid(self._cautious(ahead))[harm == 0.0]

    def _model_loss(self, changes: Tensor, obs: Tensor, next_obs: Tensor) -> Tensor:
        """Mean square error of the model, in units of what the features change by."""
        newest = slice(self._obs - len(self._change), self._obs)
        change = next_obs[:, newest] - obs[:, newest]
        with torch.no_grad():
            square = change.square().mean(0)
            self._change.lerp_(square, self.config.tau if self._change.any() else 1.0)
        loss: Tensor = (changes - change / self._unit()).square().mean()
        return loss

    def _unit(self) -> Tensor:
        """What each feature changes by in a step. Shape: (D,)."""
        return self._change.sqrt().clamp(min=_LEAST_CHANGE)

    def _next(self, obs: Tensor, action: Tensor) -> Tensor:
        """Where actions lead, by each member of the model. Shapes: (B, I), (B, A) to (E, B, I)."""
        return self._changed(obs, self._changes(obs, action))

    def _changes(self, obs: Tensor, action: Tensor) -> Tensor:
        """What the model says, in its unit. Shapes: (B, I), (B, A) to (E, B, D)."""
        changes: Tensor = self._model(torch.cat((action, obs[:, : self._obs]), 1))
        return changes

    def _changed(self, obs: Tensor, changes: Tensor) -> Tensor:
        """Observations one step later. Shapes: (B, I), (E, B, D) to (E, B, I)."""
        stack, rows, members = obs[:, : self._obs], len(self._change), len(changes)
        newest = stack[:, -rows:] + changes * self._unit()
        older, command = (part.expand(members, *part.shape) for part in (stack[:, rows:], obs[:, self._obs :]))
        return torch.cat((older, newest, command), 2)

    def _harmed(self, minibatch: Minibatch, next_obs: Tensor) -> Tensor:
        """1 where a step led to harm, else 0. Shape: (B,)."""
        if self._harm is None:
            return (minibatch.discount == 0.0).float()
        sampler = self._sampler
        seen = next_obs[:, : len(sampler.mean)].numpy() * sampler.std + sampler.mean
        return torch.from_numpy(self._harm(seen).astype(np.float32))

    def _cautious(self, log_odds: Tensor) -> Tensor:
        """Log-odds of the ensemble (E, B) as one, the higher the less its members agree. Shape: (B,)."""
        cautious = log_odds.mean(0)
        if self.config.ensemble > 1:
            cautious = cautious + self.config.caution * log_odds.std(0, correction=0)
        return cautious

    def _learn_recovery(self, obs: Tensor) -> None:
        """Towards the action with the lowest log-odds; those have a slope where the probability has none any more.

        Of the mean of the ensemble: caution about ways that were never tried would keep the robot from the way back.
        """
        out = self._actor(obs)[0, :, : self._actions]
        action = torch.tanh(out + self._recovery_prior)
        log_odds = self._critic(self._next(obs, action))[..., 0]
        self._actor_adam.zero_grad(set_to_none=True)
        gradient = torch.autograd.grad(log_odds.mean(), list(self._actor.parameters()))
        for parameter, grad in zip(self._actor.parameters(), gradient, strict=True):
            parameter.grad = grad
        self._actor_adam.step()


class _TaskPolicy:
    """A published policy in torch, exploring as it does on the robot."""

    def __init__(self, weights: PolicyWeights, sampler: Sampler) -> None:
        self._layers = [(torch.as_tensor(weight), torch.as_tensor(bias)) for weight, bias in weights.layers]
        self._weights = weights
        # The policy normalises by the moments of its own day.
        self._scale = torch.as_tensor(sampler.std / weights.obs_std)
        self._shift = torch.as_tensor((sampler.mean - weights.obs_mean) / weights.obs_std)

    def act(self, seen: Tensor, prior: Tensor, noise: Tensor) -> Tensor:
        """Actions at observations as the sampler normalises them, with commands. Shape: (batch, I) to (batch, A)."""
        w, width = self._weights, self._weights.obs_width
        observed = (seen[:, :width] * self._scale + self._shift).clamp(-w.obs_clip, w.obs_clip)
        x = torch.cat((observed, seen[:, width:]), 1)
        last = len(self._layers) - 1
        for index, (weight, bias) in enumerate(self._layers):
            x = torch.addmm(bias, x, weight)
            if index < last:
                x = torch.relu(x)
        std = x[:, w.action_width :].clamp(w.log_std_min, w.log_std_max).exp()
        return torch.tanh(x[:, : w.action_width] + prior + std * noise)
