"""The squashed Gaussian of soft actor-critic (Haarnoja et al. 2019, arXiv 1812.05905, appendix C)."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor
from torch.nn.functional import softplus


class SquashedAction(NamedTuple):
    """Actions drawn from the actor, and what their gradient needs. Shapes: (rows, A); ``log_prob``: (rows,)."""

    action: Tensor
    log_prob: Tensor
    log_std: Tensor
    spread: Tensor
    """std * noise."""


def squash(out: Tensor, prior: Tensor, noise: Tensor, low: float, high: float) -> SquashedAction:
    """Draw u = tanh(x), x = mean + prior + std * noise, and log pi(u) = log N(x) - sum log(1 - u^2).

    Args:
        out: mean and log std from the actor. Shape: (rows, 2 A).
        prior: Shape: (rows, A).
        noise: Shape: (rows, A).
        low: lower bound of log std.
        high: upper bound of log std.
    """
    mean, raw = out.chunk(2, dim=-1)
    log_std = raw.clamp(low, high)
    spread = log_std.exp().mul_(noise)
    x = (mean + prior).add_(spread)
    # log(1 - tanh(x)^2) = 2 (log 2 - x - softplus(-2 x)), which keeps its digits far out (appendix C, eq. 21).
    density = softplus(-2.0 * x).add_(x).mul_(2.0).sub_(log_std).addcmul_(noise, noise, value=-0.5)
    constant = -noise.shape[-1] * (0.5 * math.log(2.0 * math.pi) + 2.0 * math.log(2.0))
    return SquashedAction(x.tanh(), density.sum(-1).add_(constant), log_std, spread)
