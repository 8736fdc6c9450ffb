"""Dynamics networks made ready to plan with: means only, normalisation folded in where that is exact."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from meta.transitions import CLIP, Scales


class PlanningModel:
    """E networks side by side that foretell the mean of the next state; what `planner` rolls out."""

    def __init__(self, layers: Sequence[tuple[Tensor, Tensor]], scales: Scales) -> None:
        """Copy the networks.

        Args:
            layers: weight (E, in, out) and bias (E, 1, out) of each layer, with ReLU between two layers. What the last
                layer puts out beyond the normalised difference of states, such as log variances, is left out.
            scales: of the networks' data.
        """
        dtype = layers[0][0].dtype
        self.delta_std = torch.from_numpy(scales.delta_std).to(dtype)
        """What counts as a usual step of each number of the state. Shape: (S,)."""
        self.members = len(layers[0][0])
        size = len(self.delta_std)
        self._mean = torch.from_numpy(scales.input_mean).to(dtype)
        self._inverse = 1.0 / torch.from_numpy(scales.input_std).to(dtype)
        *hidden, (weight, bias) = [(weight.detach(), bias.detach()) for weight, bias in layers]
        self._hidden = [(weight.clone(), bias.clone()) for weight, bias in hidden]
        self._weight = (weight[..., :size] * self.delta_std).contiguous()
        self._widths = (len(self._mean), *(len(bias[0, 0]) for _, bias in self._hidden))
        self._buffers: list[Tensor] = []
        self._bias = bias[..., :size] * self.delta_std + torch.from_numpy(scales.delta_mean).to(dtype)

    def next_states(self, states: Tensor, actions: Tensor) -> Tensor:
        """Each member's mean of the state one step on.

        Args:
            states: where each member believes to be. Shape: (E, B, S).
            actions: shape: (B, A).

        Returns:
            Shape: (E, B, S).
        """
        rows = states.shape[1]
        if not self._buffers or self._buffers[0].shape[1] != rows:
            # Kept, because asking the system for so much memory anew costs as much as the products.
            self._buffers = [states.new_empty(self.members, rows, width) for width in self._widths]
        x, *hidden = self._buffers
        size = states.shape[-1]
        x[..., :size] = states
        x[..., size:] = actions
        x.sub_(self._mean).mul_(self._inverse).clamp_(-CLIP, CLIP)
        for into, (weight, bias) in zip(hidden, self._hidden, strict=True):
            torch.bmm(x, weight, out=into).add_(bias).relu_()
            x = into
        return torch.bmm(x, self._weight).add_(self._bias).add_(states)
