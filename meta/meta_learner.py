"""What every meta-learner does, whatever library takes its gradients.

It adapts parameters to a few examples, and learns from many tasks parameters from which that leads far.
"""

from __future__ import annotations

import copy
import importlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from meta.updates import take_updates

Parameters = dict[str, Tensor]
"""Of a network, by the names that the module gives them."""
Loss = Callable[[Tensor, Tensor], Tensor]
"""Of outputs and targets, a scalar."""


class Examples(NamedTuple):
    """Inputs of a network and what it should put out. Shapes: (..., n, in) and (..., n, out)."""

    inputs: Tensor
    targets: Tensor


class Tasks(NamedTuple):
    """N tasks: from ``support`` the learner adapts, on ``query`` it is judged. Leading shape: (N,)."""

    support: Examples
    query: Examples


@dataclass(frozen=True, kw_only=True)
class MetaConfig:
    """Settings of every meta-learner."""

    inner_rate: float = 0.1
    """Step of adaptation along the gradient."""
    inner_steps: int = 1
    """Gradient steps of one adaptation."""
    learn_rates: bool = False
    """Learn the step of each tensor along with it, as in Meta-SGD (Li et al. 2017, arXiv 1707.09835)."""
    first_order: bool = False
    """Take the gradients of adaptation for constants: FOMAML (Finn et al. 2017, section 5.2)."""
    outer_rate: float = 1e-3
    """Of the parameters that adaptation starts from, with Adam."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot work."""
        for name in ("inner_rate", "outer_rate"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ValueError(f"meta setting {name} is {getattr(self, name)!r}; it must be positive and finite")
        if self.inner_steps < 1:
            raise ValueError(f"meta setting inner_steps is {self.inner_steps!r}; it must be at least 1")


class MetaLearner(Protocol):
    """Adapts, and learns to adapt."""

    parameters: Parameters
    """What adaptation starts from; `meta_step` changes them in place."""

    def adapt(self, parameters: Mapping[str, Tensor], support: Examples) -> Parameters:
        """Parameters that fit the examples better; those given stay as they are."""

    def meta_step(self, tasks: Tasks) -> dict[str, float]:
        """One update towards parameters from which adaptation leads further."""


class GradientMetaLearner(ABC):
    """A meta-learner that descends the loss after adaptation; subclasses say how that loss is computed."""

    def __init__(self, network: nn.Module, config: MetaConfig, loss: Loss = nn.functional.mse_loss) -> None:
        """Start from a copy of the network's parameters."""
        self.config = config
        self.refused_reason = ""
        """Why the last meta-step was undone; empty if it was not."""
        self._network = copy.deepcopy(network)
        self.parameters: Parameters = dict(self._network.named_parameters())
        self._loss = loss
        self._learned = dict(self.parameters)
        if config.learn_rates:
            start = math.log(config.inner_rate)
            self.log_rates: Parameters = {
                name: torch.full((), start, dtype=parameter.dtype).requires_grad_()
                for name, parameter in self.parameters.items()
            }
            """Logarithm of the step of each tensor."""
            self._learned |= {f"{name}.log_rate": rate for name, rate in self.log_rates.items()}
        self._adam = torch.optim.Adam(self._learned.values(), config.outer_rate)

    @abstractmethod
    def adapt(self, parameters: Mapping[str, Tensor], support: Examples) -> Parameters:
        """Parameters that fit the examples better, without a graph; those given stay as they are."""

    @abstractmethod
    def meta_loss(self, tasks: Tasks) -> tuple[Tensor, Tensor]:
        """Mean loss over all tasks, after adaptation (on query, with a graph) and before it (on support, without)."""

    def meta_step(self, tasks: Tasks) -> dict[str, float]:
        """One update of Adam; undone where it leads to numbers that are not finite.

        Returns:
            ``query_loss`` after adaptation, ``support_loss`` before it, ``grad_norm`` of the meta-gradient; nothing
            where the update was undone, and `refused_reason` says so.
        """
        before = torch.zeros(())

        def loss() -> Tensor:
            nonlocal before
            after, before = self.meta_loss(tasks)
            return after

        self.refused_reason = ""
        query_loss = take_updates(self._learned.values(), self._adam, loss, 1)
        if query_loss is None:
            self.refused_reason = "meta-learning led to numbers that are not finite"
            return {}
        norms = [tensor.grad.norm() for tensor in self._learned.values() if tensor.grad is not None]
        grad_norm = torch.stack(norms).norm()
        return {"query_loss": query_loss, "support_loss": float(before), "grad_norm": float(grad_norm)}


META_LEARNERS = {"maml": "meta.maml:Maml", "learn2learn": "meta.learn2learn_adapter:Learn2LearnMaml"}
"""Name -> module and class, imported when first asked for."""


def meta_learner(
    name: str, network: nn.Module, config: MetaConfig | None = None, loss: Loss = nn.functional.mse_loss
) -> GradientMetaLearner:
    """The meta-learner of this name, starting from the network's parameters.

    Raises:
        ValueError: there is no such meta-learner, or it cannot do what the settings ask for.
        ImportError: it needs a package that is not there; the message says how to get it.
    """
    if name not in META_LEARNERS:
        raise ValueError(f"no meta-learner {name!r}; there are {sorted(META_LEARNERS)}")
    module, _, kind = META_LEARNERS[name].partition(":")
    made: GradientMetaLearner = getattr(importlib.import_module(module), kind)(network, config or MetaConfig(), loss)
    return made
