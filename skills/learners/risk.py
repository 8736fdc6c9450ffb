"""A safety critic and a recovery policy, learned beside the task from the same transitions.

Recovery RL (Thananjeyan et al. 2021, arXiv 2010.15920): the critic is the discounted probability that harm comes of an
action, if the task policy goes on after it; the recovery policy is the action that it says is safest. Here the critics
are an ensemble trained by cross-entropy, which is a proper score of probabilities, each towards a target of its own, so
that they differ where there is little data.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from skills.learners.learner import Replay
from skills.policy import PolicyWeights, prior_preactivation
from skills.shield import ShieldWeights


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
    """Risk from which on the recovery policy acts."""
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
        if not (0.0 <= self.discount < 1.0 and 0.0 < self.threshold < 1.0):
            raise ValueError(
                f"discount is {self.discount} and threshold {self.threshold}; they must be in [0, 1) and (0, 1)"
            )
        if self.ensemble < 1 or self.batch < 1 or not self.hidden:
            raise ValueError("ensemble and batch must be at least 1, and hidden must have a layer")


class _Ensemble(nn.Module):
    """E networks side by side."""

    def __init__(self, members: int, sizes: tuple[int, ...], generator: torch.Generator) -> None:
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for fan_in, fan_out in pairwise(sizes):
            bound = fan_in**-0.5
            for into, shape in ((self.weights, (members, fan_in, fan_out)), (self.biases, (members, 1, fan_out))):
                into.append(nn.Parameter((2 * torch.rand(shape, generator=generator) - 1) * bound))

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (batch, in) or (E, batch, in) to (E, batch, out)."""
        last = len(self.weights) - 1
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = x @ weight + bias
            if index < last:
                x = torch.relu(x)
        return x

    def arrays(self) -> tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...]:
        """Copies of the layers."""
        pairs = zip(self.weights, self.biases, strict=True)
        return tuple((w.detach().numpy().copy(), b.detach().numpy().copy()) for w, b in pairs)


class RiskLearner:
    """Learns from a replay memory that somebody else fills, in which ``terminated`` means harm."""

    def __init__(
        self,
        replay: Replay,
        commands: NDArray[np.floating[Any]],
        priors: NDArray[np.floating[Any]],
        recovery_prior: NDArray[np.floating[Any]],
        config: RiskConfig | None = None,
        seed: int = 0,
    ) -> None:
        """Make new networks.

        Args:
            replay: where transitions come from.
            commands: what each skill tells the task policy to do; C may be 0. Shape: (K, C).
            priors: what each skill does when its network puts out zero. Shape: (K, A).
            recovery_prior: the same of the recovery policy, whatever the skill. Shape: (A,).
            config: settings.
            seed: of the networks and of every draw.
        """
        self.config = c = config or RiskConfig()
        self.updates = 0
        self._replay = replay
        self._commands = torch.as_tensor(np.asarray(commands, np.float32))
        self._priors = torch.as_tensor(prior_preactivation(priors))
        self._recovery_prior = torch.as_tensor(prior_preactivation(recovery_prior))
        self._rng = np.random.default_rng(seed)
        self._generator = torch.Generator().manual_seed(seed)
        width = replay.obs_width + self._commands.shape[1]
        self._critic = _Ensemble(c.ensemble, (replay.actions + width, *c.hidden, 1), self._generator)
        self._target = copy.deepcopy(self._critic).requires_grad_(False)
        self._actor = _Ensemble(1, (width, *c.hidden, 2 * replay.actions), self._generator)
        with torch.no_grad():
            self._actor.weights[-1].mul_(0.1)
            self._actor.biases[-1].mul_(0.1)
        self._critic_adam = torch.optim.Adam(self._critic.parameters(), c.learning_rate)
        self._actor_adam = torch.optim.Adam(self._actor.parameters(), c.learning_rate)
        self._mean, self._std = np.zeros(replay.obs_width, np.float32), np.ones(replay.obs_width, np.float32)
        self._normalised_steps = 0

    def update(self, n: int, policy: PolicyWeights) -> dict[str, float]:
        """Take ``n`` gradient updates under a task policy.

        Returns:
            ``risk_loss`` (cross-entropy less that of the targets themselves), ``risk_mean`` and ``risk_harm`` (mean
            risk of the last minibatch, and share of it that ended in harm).
        """
        self._refresh_normaliser()
        task = _TaskPolicy(policy)
        figures: dict[str, Tensor] = {}
        for _ in range(n):
            figures = self._step(task)
        self.updates += n
        return {name: float(value) for name, value in figures.items()}

    def snapshot(self) -> ShieldWeights:
        """A copy of critics and recovery policy as they are now."""
        recovery = PolicyWeights(
            version=self.updates,
            layers=tuple((weight[0], bias[0, 0]) for weight, bias in self._actor.arrays()),
            obs_mean=self._mean.copy(),
            obs_std=self._std.copy(),
            obs_clip=self.config.obs_clip,
        )
        return ShieldWeights(
            critic=self._critic.arrays(),
            recovery=recovery,
            caution=self.config.caution,
            threshold=self.config.threshold,
        )

    def _step(self, task: _TaskPolicy) -> dict[str, Tensor]:
        c = self.config
        drawn = self._replay.sample(self._rng, c.batch)
        skill = torch.as_tensor(self._rng.integers(len(self._commands), size=c.batch))
        command = self._commands[skill]
        obs, next_obs = (
            _seen(rows, command, self._mean, self._std, c.obs_clip) for rows in (drawn.obs, drawn.next_obs)
        )
        action = torch.as_tensor(np.ascontiguousarray(drawn.action))
        harm = torch.as_tensor(np.ascontiguousarray(drawn.terminated))[torch.arange(c.batch), skill]
        with torch.no_grad():
            following = task.act(drawn.next_obs, command, self._priors[skill], self._generator)
            later = torch.sigmoid(self._target(torch.cat((following, next_obs), 1))[..., 0])
            target = harm + (1.0 - harm) * c.discount * later
        log_odds = self._critic(torch.cat((action, obs), 1))[..., 0]
        loss = nn.functional.binary_cross_entropy_with_logits(log_odds, target)
        self._critic_adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._critic_adam.step()
        self._learn_recovery(obs)
        with torch.no_grad():
            for slow, fast in zip(self._target.parameters(), self._critic.parameters(), strict=True):
                slow.lerp_(fast, c.tau)
            unavoidable = nn.functional.binary_cross_entropy(target, target)
            return {
                "risk_loss": loss.detach() - unavoidable,
                "risk_mean": torch.sigmoid(log_odds).mean(),
                "risk_harm": harm.mean(),
            }

    def _learn_recovery(self, obs: Tensor) -> None:
        """Towards the action with the lowest log-odds; those have a slope where the probability has none any more."""
        out = self._actor(obs)[0, :, : self._replay.actions]
        action = torch.tanh(out + self._recovery_prior)
        log_odds = self._critic(torch.cat((action, obs), 1))[..., 0]
        cautious = log_odds.mean(0)
        if self.config.ensemble > 1:
            cautious = cautious + self.config.caution * log_odds.std(0, correction=0)
        self._actor_adam.zero_grad(set_to_none=True)
        gradient = torch.autograd.grad(cautious.mean(), list(self._actor.parameters()))
        for parameter, grad in zip(self._actor.parameters(), gradient, strict=True):
            parameter.grad = grad
        self._actor_adam.step()

    def _refresh_normaliser(self) -> None:
        """Take mean and standard deviation from the replay memory, until there are steps enough."""
        if self._normalised_steps >= self.config.normalise_steps:
            return
        self._normalised_steps, mean, variance = self._replay.feature_moments()
        std = np.sqrt(variance)
        std[std < 1e-3] = 1.0  # a feature that hardly moves carries noise at most
        times = self._replay.obs_width // len(mean)
        self._mean, self._std = (np.tile(part, times).astype(np.float32) for part in (mean, std))


def _seen(
    rows: NDArray[np.float32], command: Tensor, mean: NDArray[np.float32], std: NDArray[np.float32], clip: float
) -> Tensor:
    """Normalised observation, and command. Shape: (batch, I)."""
    return torch.cat((torch.as_tensor(np.clip((rows - mean) / std, -clip, clip)), command), 1)


class _TaskPolicy:
    """A published policy in torch, exploring as it does on the robot."""

    def __init__(self, weights: PolicyWeights) -> None:
        self._layers = [(torch.as_tensor(weight), torch.as_tensor(bias)) for weight, bias in weights.layers]
        self._weights = weights
        self._actions = weights.action_width

    def act(self, obs: NDArray[np.float32], command: Tensor, prior: Tensor, generator: torch.Generator) -> Tensor:
        """Actions at observations. Shapes: (batch, O), (batch, C) and (batch, A) to (batch, A)."""
        w = self._weights
        x = _seen(obs, command, w.obs_mean, w.obs_std, w.obs_clip)
        last = len(self._layers) - 1
        for index, (weight, bias) in enumerate(self._layers):
            x = torch.addmm(bias, x, weight)
            if index < last:
                x = torch.relu(x)
        std = x[:, self._actions :].clamp(w.log_std_min, w.log_std_max).exp()
        noise = torch.randn(std.shape, generator=generator)
        return torch.tanh(x[:, : self._actions] + prior + std * noise)
