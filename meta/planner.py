"""Plans actions by rolling out a learned model: cross-entropy method and model-predictive path integral.

Both draw sequences of actions around the last plan, foretell where each leads, and move towards the cheap ones. CEM
goes on from the best few (Chua et al. 2018, arXiv 1805.12114; coloured noise, and mean and best sequences as candidates
again, are those of iCEM, Pinneri et al. 2020, arXiv 2008.06389). MPPI weighs all by their cost (Williams et al. 2017,
arXiv 1707.02342), with less noise from round to round (Xue et al. 2024, arXiv 2409.15610).

A plan is for the moment when its first action will act: the model first foretells the state then, from the actions that
have been sent already (Yang et al. 2020, arXiv 1907.03613). Where the members of the model disagree, a sequence costs
more, so that the planner does not exploit what the model merely imagines (Ibarz et al. 2021, section 4.6).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from meta.coloured_noise import colouring

Float32 = NDArray[np.float32]
Cost = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Of states (H, E, B, S), actions (H, 1, B, A) and next states (H, E, B, S), the cost of each step: (H, E, B)."""


class Model(Protocol):
    """What can be planned with: E members' means, as in `planning_model`."""

    @property
    def members(self) -> int:
        """E."""

    @property
    def delta_std(self) -> Tensor:
        """Usual step of each number of the state. Shape: (S,)."""

    def next_states(self, states: Tensor, actions: Tensor) -> Tensor:
        """Shapes: (E, B, S) and (B, A) to (E, B, S)."""


@dataclass(frozen=True, kw_only=True)
class PlannerConfig:
    """Settings of `Planner`."""

    method: Literal["cem", "mppi"] = "cem"
    horizon: int = 20
    """Steps that a plan reaches ahead."""
    candidates: int = 500
    """Sequences that one plan looks at, in all its iterations together."""
    iterations: int = 4
    """Rounds that the candidates are shared among."""
    elites: int = 12
    """Best sequences of a round that CEM goes on from."""
    momentum: float = 0.1
    """Share of CEM's mean and deviation that stays at each round."""
    kept: int = 4
    """Best sequences that CEM looks at again in the next round, and in the next plan."""
    temperature: float = 0.1
    """MPPI weighs by exp(-cost / temperature), in standard deviations of the round's costs."""
    annealing: float = 0.6
    """Factor on MPPI's deviation from one round to the next."""
    std: float = 0.5
    """Standard deviation of the first round, in half ranges of each action."""
    least_std: float = 0.05
    """Lower bound of CEM's deviation."""
    colour: float = 2.0
    """Exponent beta of the noise's power spectrum 1 / f^beta; 0: white, 2: smooth as a random walk."""
    risk: float = 1.0
    """Cost of a step on which the members disagree by one usual step, root mean square over the state."""
    discount: float = 1.0
    """Of the cost of each further step."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot work, naming the field, its value and what is valid."""
        self._need("method", self.method in ("cem", "mppi"), "cem or mppi")
        for name in ("horizon", "iterations", "elites"):
            self._need(name, getattr(self, name) >= 1, "at least 1")
        self._need("candidates", self.candidates >= 2 * self.iterations, "at least 2 per iteration")
        fewest = self.candidates // self.iterations
        self._need("elites", self.elites <= fewest, f"at most the {fewest} candidates of an iteration")
        self._need("kept", 0 <= self.kept <= min(self.elites, fewest - 1), "at least 0 and at most elites")
        for name in ("temperature", "annealing", "std", "discount"):
            self._need(name, 0.0 < getattr(self, name) < math.inf, "positive and finite")
        for name in ("least_std", "colour", "risk"):
            self._need(name, 0.0 <= getattr(self, name) < math.inf, "zero or positive, and finite")
        self._need("momentum", 0.0 <= self.momentum < 1.0, "in [0, 1)")

    def _need(self, name: str, valid: bool, what: str) -> None:
        if not valid:
            raise ValueError(f"planner setting {name} is {getattr(self, name)!r}; it must be {what}")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to do, and what is expected of it."""

    actions: Float32
    """Shape: (H, A)."""
    cost: float
    """Expected of the best sequence (CEM) or of all, as weighted (MPPI), risk included; infinite where no sequence had
    a finite cost: then the actions are those of the last plan."""
    disagreement: float
    """Mean per step among members about it, in usual steps."""


class Planner:
    """Plans again and again, each time from where the last plan has come to."""

    def __init__(self, lower: Float32, upper: Float32, config: PlannerConfig | None = None, seed: int = 0) -> None:
        """Plan actions between two bounds. Shapes: (A,).

        Raises:
            ValueError: a lower bound is not below the upper one.
        """
        if not (np.isfinite(lower).all() and np.isfinite(upper).all() and (lower < upper).all()):
            raise ValueError(
                f"actions are bounded by {lower} and {upper}; each lower bound must be below the upper one"
            )
        self.config = c = config or PlannerConfig()
        self._lower, self._upper = (torch.tensor(bound, dtype=torch.float32) for bound in (lower, upper))
        self._half = (self._upper - self._lower) / 2
        self._colouring = torch.from_numpy(colouring(c.horizon, c.colour).astype(np.float32))
        self._generator = torch.Generator().manual_seed(seed)
        self._discounts = (c.discount ** torch.arange(c.horizon, dtype=torch.float32))[:, None]
        self.reset()

    def reset(self) -> None:
        """Forget the last plan: the next one begins around the middle of the bounds."""
        self._mean = ((self._lower + self._upper) / 2).expand(self.config.horizon, -1).clone()
        self._kept = self._mean[:, None][:, :0]
        """Best sequences of the last round. Shape: (H, kept, A)."""

    @torch.inference_mode()
    def plan(
        self,
        model: Model,
        cost: Cost,
        state: Float32,
        *,
        pending: Float32 | None = None,
        latency_steps: float = 0.0,
        elapsed_steps: float = 1.0,
    ) -> Plan:
        """Plan from the newest reading.

        Args:
            model: foretells.
            cost: of each step.
            state: as measured. Shape: (S,).
            pending: actions that act between the reading and the plan's first action, in order. Shape: (L, A).
            latency_steps: how long that is, in steps; at most L.
            elapsed_steps: steps since the last plan, by which it is shifted.

        Raises:
            ValueError: there are fewer pending actions than latency needs, or the state is not finite.
        """
        if not np.isfinite(state).all():
            raise ValueError("the state holds numbers that are not finite; there is nothing to plan from")
        begin = forecast(model, state, pending, latency_steps)
        self._shift(elapsed_steps)
        return self._cem(model, cost, begin) if self.config.method == "cem" else self._mppi(model, cost, begin)

    def _shift(self, steps: float) -> None:
        """The last plan, begun this much later, and its last action held on; between two actions, in between."""
        c = self.config
        at = (torch.arange(c.horizon) + steps).clamp(0.0, c.horizon - 1.0)
        before = at.floor().long()
        after = (before + 1).clamp(max=c.horizon - 1)
        part = (at - before)[:, None]
        self._mean = torch.lerp(self._mean[before], self._mean[after], part)
        self._kept = torch.lerp(self._kept[before], self._kept[after], part[:, None])

    def _cem(self, model: Model, cost: Cost, begin: Tensor) -> Plan:
        c = self.config
        std = (c.std * self._half).expand_as(self._mean)
        best, best_cost, best_disagreement = self._mean, math.inf, 0.0
        for n in self._rounds():
            drawn = self._draw(n, std)
            costs, disagreement = self._evaluate(model, cost, begin, drawn)
            order = costs.topk(c.elites, largest=False).indices
            order = order[costs[order].isfinite()]
            if not len(order):
                continue
            elites = drawn[:, order]
            self._kept = elites[:, : c.kept]
            self._mean = torch.lerp(elites.mean(1), self._mean, c.momentum)
            deviation = elites.std(1, correction=0).maximum(c.least_std * self._half)
            std = torch.lerp(deviation, std, c.momentum)
            first = int(order[0])
            if float(costs[first]) < best_cost:
                best, best_cost = elites[:, 0], float(costs[first])
                best_disagreement = float(disagreement[first])
        return Plan(actions=best.numpy().copy(), cost=best_cost, disagreement=best_disagreement)

    def _mppi(self, model: Model, cost: Cost, begin: Tensor) -> Plan:
        c = self.config
        std = (c.std * self._half).expand_as(self._mean)
        expected, disagreed = math.inf, 0.0
        for n in self._rounds():
            drawn = self._draw(n, std)
            std = c.annealing * std
            costs, disagreement = self._evaluate(model, cost, begin, drawn)
            finite = costs.isfinite()
            if not bool(finite.any()):
                continue
            costs, disagreement = costs[finite], disagreement[finite]
            spread = costs.std(correction=0).clamp(min=1e-12)
            weights = torch.softmax(-(costs - costs.min()) / (c.temperature * spread), dim=0)
            self._mean = torch.einsum("n,hna->ha", weights, drawn[:, finite])
            expected, disagreed = float(weights @ costs), float(weights @ disagreement)
        return Plan(actions=self._mean.numpy().copy(), cost=expected, disagreement=disagreed)

    def _rounds(self) -> list[int]:
        """Candidates of each round."""
        share, rest = divmod(self.config.candidates, self.config.iterations)
        return [share + (index < rest) for index in range(self.config.iterations)]

    def _draw(self, n: int, std: Tensor) -> Tensor:
        """Sequences around the mean; itself and those that were kept are the first of them. Shape: (H, n, A)."""
        horizon, actions = self._mean.shape
        white = torch.randn(len(self._colouring), n * actions, generator=self._generator)
        noise = (self._colouring.T @ white).view(horizon, n, actions)
        drawn = torch.addcmul(self._mean[:, None], noise, std[:, None])
        drawn[:, 0] = self._mean
        drawn[:, 1 : 1 + self._kept.shape[1]] = self._kept
        return torch.minimum(torch.maximum(drawn, self._lower), self._upper)

    def _evaluate(self, model: Model, cost: Cost, begin: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Cost of each sequence, infinite for what is no number, and the members' mean disagreement. Shapes: (n,)."""
        horizon, n, _ = drawn.shape
        states = torch.empty(horizon + 1, model.members, n, begin.shape[-1])
        states[0] = begin[:, None]
        for step in range(horizon):
            states[step + 1] = model.next_states(states[step], drawn[step])
        by_step = cost(states[:-1], drawn[:, None], states[1:]).mean(1)
        disagreement = torch.zeros(horizon, n)
        if model.members > 1:
            # Written out, because torch's own deviation over a middle dimension takes longer than all rollouts.
            spread = (states[1:] - states[1:].mean(1, keepdim=True)).div_(model.delta_std)
            disagreement = spread.square_().mean((1, 3)).sqrt_()
        total = (self._discounts * (by_step + self.config.risk * disagreement)).sum(0)
        return torch.nan_to_num(total, nan=math.inf, posinf=math.inf, neginf=math.inf), disagreement.mean(0)


def forecast(model: Model, state: Float32, pending: Float32 | None, latency_steps: float) -> Tensor:
    """Where each member believes the robot to be after the latency; a part of a step is a part of the way.

    Args:
        model: foretells.
        state: as measured. Shape: (S,).
        pending: actions that act meanwhile, in order. Shape: (L, A).
        latency_steps: how long, in steps.

    Returns:
        Shape: (E, S).

    Raises:
        ValueError: the latency is negative, or longer than the pending actions last.
    """
    sent = 0 if pending is None else len(pending)
    if not 0.0 <= latency_steps <= sent:
        raise ValueError(f"a latency of {latency_steps} steps needs as many pending actions, not {sent}")
    states = torch.tensor(state, dtype=torch.float32).expand(model.members, 1, -1)
    for index in range(math.ceil(latency_steps)):
        assert pending is not None  # else the latency is 0
        action = torch.tensor(pending[index], dtype=torch.float32)[None]
        following = model.next_states(states, action)
        states = torch.lerp(states, following, min(1.0, latency_steps - index))
    return states[:, 0]
