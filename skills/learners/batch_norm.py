"""Batch renormalisation of an ensemble's hidden layers (Ioffe 2017, arXiv 1702.03275), placed as in CrossQ.

Without gain and offset: it stands after the ReLU, where the next layer's weights and bias can take the place of both.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

MOMENTUM = 0.99
EPSILON = 1e-3
R_MAX, D_MAX = 3.0, 5.0
"""Bounds of the renormalisation (Ioffe 2017, section 4)."""
WARM_UP = 10_000
"""Updates with plain batch statistics, until the running ones can be trusted."""


class _Pass(NamedTuple):
    """What the backward pass of a layer needs. Each shape: (E, 1, width)."""

    mean: Tensor
    inverse_std: Tensor
    scale: Tensor
    """Of the rows with statistics of their own."""
    running_scale: Tensor
    """Of the others."""


class BatchNorm:
    """Normalises each unit of the first rows by running statistics, and the other rows by their own.

    The first rows pass the actor's gradient, the others learn. In CrossQ (Bhatt et al. 2024, arXiv 1902.05605) those
    are (s, a) and (s', u') in one batch: both are normalised alike, which is why it needs no target network.
    """

    def __init__(self, running: Tensor, members: int, widths: tuple[int, ...], passing: int) -> None:
        """Normalise layers of these widths.

        Args:
            running: where the running statistics live, so that the caller stores them. Shape: (`running_size`,).
            members: number E of networks.
            widths: of the hidden layers.
            passing: number of rows that do not learn.
        """
        self._passing = passing
        layers = torch.split_with_sizes(running, [2 * members * width for width in widths])
        self._running = [part.view(2, members, 1, width).unbind(0) for part, width in zip(layers, widths, strict=True)]
        self._passes = [_Pass(mean, mean, mean, mean) for mean, _ in self._running]
        self._warm = False

    @staticmethod
    def running_size(members: int, widths: tuple[int, ...]) -> int:
        """Number of running statistics."""
        return 2 * members * sum(widths)

    def reset(self) -> None:
        """Running mean 0 and variance 1."""
        for mean, variance in self._running:
            mean.zero_()
            variance.fill_(1.0)

    def begin(self, updates: int) -> None:
        """Before the forward pass of an update: how many there were since the networks were new."""
        self._warm = updates >= WARM_UP

    def forward(self, index: int, hidden: Tensor, out: Tensor) -> None:
        """Normalise ``hidden`` into ``out``; the running statistics move afterwards. Shapes: (E, rows, width).

        Learning rows become r (x - mean) / std + d with r = std / running std and d = (mean - running mean) / running
        std, both bounded and both constants to the gradient (eq. 3 and algorithm 1); before the warm-up r = 1, d = 0.
        """
        n = self._passing
        running_mean, running_variance = self._running[index]
        variance, mean = torch.var_mean(hidden[:, n:], dim=1, correction=0, keepdim=True)
        inverse_std, running_scale = (variance + EPSILON).rsqrt_(), (running_variance + EPSILON).rsqrt_()
        scale, shift = inverse_std, -mean * inverse_std
        if self._warm:
            r = (running_scale / inverse_std).clamp_(1.0 / R_MAX, R_MAX)
            d = ((mean - running_mean) * running_scale).clamp_(-D_MAX, D_MAX)
            scale, shift = inverse_std * r, d.sub_(mean * inverse_std * r)
        torch.addcmul(shift, hidden[:, n:], scale, out=out[:, n:])
        torch.addcmul(-running_mean * running_scale, hidden[:, :n], running_scale, out=out[:, :n])
        self._passes[index] = _Pass(mean, inverse_std, scale, running_scale)
        running_mean.lerp_(mean, 1.0 - MOMENTUM)
        running_variance.lerp_(variance, 1.0 - MOMENTUM)

    def backward(self, index: int, hidden: Tensor, grad: Tensor) -> None:
        """Turn the gradient by ``out`` into that by ``hidden``, in place. Shapes: (E, rows, width)."""
        n, p = self._passing, self._passes[index]
        learned = grad[:, n:]
        centred = (hidden[:, n:] - p.mean).mul_(p.inverse_std)
        along = (learned * centred).mean(dim=1, keepdim=True)
        learned.sub_(learned.mean(dim=1, keepdim=True)).addcmul_(centred, along, value=-1.0).mul_(p.scale)
        grad[:, :n].mul_(p.running_scale)
