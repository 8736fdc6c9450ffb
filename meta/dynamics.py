"""Probabilistic ensembles of dynamics models: PETS (Chua et al. 2018, arXiv 1805.12114).

Each member maps state and action to mean and log variance of the normalised difference to the next state. Members learn
from different draws of the data, so where there is little of it they disagree: that is the epistemic uncertainty, which
more data would remove. The variance that they foretell is the aleatoric one, which it would not. All members are one
batched matrix product per layer. `dynamics_learner` learns them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from meta.planning_model import PlanningModel
from meta.transitions import CLIP, Scales

LOG_VARIANCE = (-10.0, 0.5)
"""What the bounds of the log variance begin at, in squared usual steps (appendix A.1 of the paper)."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What an ensemble foretells of one step, in the units of the state. Shapes: (B, S)."""

    mean: Tensor
    """Of the next state, over all members."""
    aleatoric: Tensor
    """Standard deviation that the members foretell: noise."""
    epistemic: Tensor
    """Standard deviation of their means: what they do not know."""

    @property
    def std(self) -> Tensor:
        """Of the mixture of all members, by the law of total variance."""
        return (self.aleatoric.square() + self.epistemic.square()).sqrt()


class DynamicsEnsemble(nn.Module):
    """E probabilistic networks side by side."""

    def __init__(
        self, state_size: int, action_size: int, hidden: tuple[int, ...], members: int, generator: torch.Generator
    ) -> None:
        """Draw new weights as torch's own linear layers do; until `set_scales`, nothing is scaled."""
        super().__init__()
        self.state_size, self.members = state_size, members
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for fan_in, fan_out in pairwise((state_size + action_size, *hidden, 2 * state_size)):
            bound = fan_in**-0.5
            for into, shape in ((self.weights, (members, fan_in, fan_out)), (self.biases, (members, 1, fan_out))):
                into.append(nn.Parameter((2 * torch.rand(shape, generator=generator) - 1) * bound))
        lowest, highest = (torch.full((members, 1, state_size), value) for value in LOG_VARIANCE)
        self.least_log_variance, self.most_log_variance = nn.Parameter(lowest), nn.Parameter(highest)
        self.register_buffer("input_mean", torch.zeros(state_size + action_size))
        self.register_buffer("input_std", torch.ones(state_size + action_size))
        self.register_buffer("delta_mean", torch.zeros(state_size))
        self.register_buffer("delta_std", torch.ones(state_size))
        self.input_mean: Tensor
        self.input_std: Tensor
        self.delta_mean: Tensor
        self.delta_std: Tensor

    def set_scales(self, scales: Scales) -> None:
        """Normalise by these from now on."""
        for name in ("input_mean", "input_std", "delta_mean", "delta_std"):
            getattr(self, name).copy_(torch.from_numpy(getattr(scales, name)))

    def forward(self, states: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the normalised difference to the next state.

        Args:
            states: shape: (E, B, S).
            actions: shape: (E, B, A).

        Returns:
            Two of shape (E, B, S).
        """
        x = (torch.cat((states, actions), dim=-1) - self.input_mean) / self.input_std
        x = x.clamp(-CLIP, CLIP)
        last = len(self.weights) - 1
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, x, weight)
            if index < last:
                x = torch.relu(x)
        mean, raw = x[..., : self.state_size], x[..., self.state_size :]
        # Soft bounds, that the variance may not run away where there is no data (appendix A.1 of the paper).
        log_variance = self.most_log_variance - functional.softplus(self.most_log_variance - raw)
        log_variance = self.least_log_variance + functional.softplus(log_variance - self.least_log_variance)
        return mean, log_variance

    def advance(self, states: Tensor, mean: Tensor) -> Tensor:
        """The states that normalised differences lead to. Shapes: (..., S)."""
        return states + mean * self.delta_std + self.delta_mean

    def normalised_difference(self, states: Tensor, following: Tensor) -> Tensor:
        """What `advance` undoes. Shapes: (..., S)."""
        return (following - states - self.delta_mean) / self.delta_std

    @torch.no_grad()
    def predict(self, states: Tensor, actions: Tensor) -> Prediction:
        """One step on from each state, with its uncertainty. Shapes: (B, S) and (B, A)."""
        mean, log_variance = self(states.expand(self.members, -1, -1), actions.expand(self.members, -1, -1))
        return Prediction(
            mean=self.advance(states, mean.mean(0)),
            aleatoric=log_variance.exp().mean(0).sqrt() * self.delta_std,
            epistemic=mean.std(0, correction=0) * self.delta_std,
        )

    def planning_model(self, members: int | None = None) -> PlanningModel:
        """A copy of the means of the first so many members (None: of all), to plan with: time grows with them."""
        scales = Scales(
            input_mean=self.input_mean.numpy().copy(),
            input_std=self.input_std.numpy().copy(),
            delta_mean=self.delta_mean.numpy().copy(),
            delta_std=self.delta_std.numpy().copy(),
        )
        layers = [(w[:members], b[:members]) for w, b in zip(self.weights, self.biases, strict=True)]
        return PlanningModel(layers, scales)
