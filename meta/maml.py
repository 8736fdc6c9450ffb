"""Model-agnostic meta-learning (Finn et al. 2017, arXiv 1703.03400) on `torch.func`, all tasks at once."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from meta.meta_learner import Examples, GradientMetaLearner, Loss, MetaConfig, Parameters, Tasks
from meta.mlp_adaptation import adapted_losses, layers_of


class Maml(GradientMetaLearner):
    """theta' = theta - a grad L(theta, support), and theta descends L(theta', query)  (eq. 1 of the paper)."""

    def __init__(self, network: nn.Module, config: MetaConfig, loss: Loss = nn.functional.mse_loss) -> None:
        """Start from a copy of the network's parameters."""
        super().__init__(network, config, loss)
        short = config.inner_steps == 1 and loss is nn.functional.mse_loss
        self._layers = layers_of(self._network) if short else None
        """Linear layers of a network whose tasks can be learned from without weights of their own."""

    def adapt(self, parameters: Mapping[str, Tensor], support: Examples) -> Parameters:
        """Take the inner steps on one task's examples."""
        start = {name: parameter.detach() for name, parameter in parameters.items()}
        with torch.no_grad():
            adapted, _ = self._inner(start, {name: rate.detach() for name, rate in self._rates().items()}, support)
        return adapted

    def meta_loss(self, tasks: Tasks) -> tuple[Tensor, Tensor]:
        """Mean loss over all tasks after adaptation, and before it."""
        rates = self._rates()
        if self._layers is not None:
            after, before = adapted_losses(
                self._layers, self.parameters, rates, tasks, first_order=self.config.first_order
            )
            return after.mean(), before.mean()

        def task_loss(task: Tasks) -> tuple[Tensor, Tensor]:
            adapted, before = self._inner(self.parameters, rates, task.support)
            return self._at(adapted, task.query), before

        after, before = vmap(task_loss)(tasks)
        return after.mean(), before.detach().mean()

    def _at(self, parameters: Mapping[str, Tensor], examples: Examples) -> Tensor:
        return self._loss(functional_call(self._network, dict(parameters), (examples.inputs,)), examples.targets)

    def _rates(self) -> Parameters:
        """Inner step of each tensor."""
        if self.config.learn_rates:
            return {name: rate.exp() for name, rate in self.log_rates.items()}
        return {name: torch.tensor(self.config.inner_rate, dtype=p.dtype) for name, p in self.parameters.items()}

    def _inner(
        self, parameters: Mapping[str, Tensor], rates: Mapping[str, Tensor], support: Examples
    ) -> tuple[Parameters, Tensor]:
        """Adapted parameters, and the loss on support before the first step."""
        adapted, first = dict(parameters), None
        for _ in range(self.config.inner_steps):
            gradients, loss = grad_and_value(self._at)(adapted, support)
            first = loss if first is None else first
            if self.config.first_order:
                gradients = {name: gradient.detach() for name, gradient in gradients.items()}
            adapted = {name: value - rates[name] * gradients[name] for name, value in adapted.items()}
        assert first is not None  # at least one step, says the configuration
        return adapted, first
