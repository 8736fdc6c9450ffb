"""Gradient updates that are taken back where they lead to numbers that are not finite."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor


def take_updates(
    parameters: Iterable[Tensor], optimiser: torch.optim.Optimizer, loss: Callable[[], Tensor], n: int
) -> float | None:
    """Take ``n`` gradient updates, each of a loss of a minibatch that is drawn anew.

    Args:
        parameters: all that the optimiser changes.
        optimiser: takes the steps.
        loss: of the parameters as they are, a scalar.
        n: updates.

    Returns:
        The last loss. None where they led to numbers that are not finite: then all of them are undone, and the
        optimiser has forgotten what it knew.
    """
    parameters = list(parameters)
    good = [parameter.detach().clone() for parameter in parameters]
    last = torch.zeros(())
    for _ in range(n):
        last = loss()
        optimiser.zero_grad(set_to_none=True)
        last.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    if all(bool(torch.isfinite(parameter).all()) for parameter in parameters):
        return float(last.detach())
    with torch.no_grad():
        for parameter, before in zip(parameters, good, strict=True):
            parameter.copy_(before)
    optimiser.state.clear()
    return None
