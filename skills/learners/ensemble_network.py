"""The ensemble of `skills.ensemble` as a module of torch, for networks too small for what `networks` saves."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from meta import updates
from skills import ensemble


class EnsembleNetwork(nn.Module):
    """E networks side by side."""

    def __init__(self, members: int, sizes: tuple[int, ...], generator: torch.Generator) -> None:
        """Draw new weights for layers of these widths, as torch's own linear layers do."""
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for fan_in, fan_out in pairwise(sizes):
            bound = fan_in**-0.5
            for into, shape in ((self.weights, (members, fan_in, fan_out)), (self.biases, (members, 1, fan_out))):
                into.append(nn.Parameter((2 * torch.rand(shape, generator=generator) - 1) * bound))

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (B, in) or (E, B, in) to (E, B, out)."""
        last = len(self.weights) - 1
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = x @ weight + bias
            if index < last:
                x = torch.relu(x)
        return x

    def arrays(self) -> ensemble.Layers:
        """Copies of the layers."""
        pairs = zip(self.weights, self.biases, strict=True)
        return tuple((w.detach().numpy().copy(), b.detach().numpy().copy()) for w, b in pairs)


def take_updates(
    network: EnsembleNetwork, optimiser: torch.optim.Optimizer, loss: Callable[[], Tensor], n: int
) -> float | None:
    """`meta.updates.take_updates` of all parameters of a network."""
    return updates.take_updates(network.parameters(), optimiser, loss, n)
