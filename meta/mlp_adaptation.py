"""One inner step of MAML for networks of linear layers, without weights of their own for each task.

A gradient of n examples is a matrix of rank n: W' = W - a d^T h, with the layer's inputs h and what came back to it, d.
So the adapted layer gives q W'^T = q W^T - a (q h^T) d. Of N tasks the products with W are one, and what is left are
products as small as the examples are few; N copies of W, as they come with a gradient for each task, are never made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from meta.meta_learner import Tasks


def layers_of(network: nn.Module) -> tuple[str, ...] | None:
    """Names of the linear layers of a network that is nothing but such layers with ReLU between them; else None."""
    if not isinstance(network, nn.Sequential):
        return None
    modules = list(network.named_children())
    linear, between = modules[::2], modules[1::2]
    plain = all(type(module) is nn.Linear and module.bias is not None for _, module in linear)
    if not plain or not all(type(module) is nn.ReLU for _, module in between) or len(linear) != len(between) + 1:
        return None
    return tuple(name for name, _ in linear)


def adapted_losses(
    layers: Sequence[str],
    parameters: Mapping[str, Tensor],
    rates: Mapping[str, Tensor],
    tasks: Tasks,
    *,
    first_order: bool,
) -> tuple[Tensor, Tensor]:
    """Mean squared errors of N tasks after one inner step down the mean squared error, and before it.

    Args:
        layers: names of the linear layers, in order.
        parameters: ``NAME.weight`` and ``NAME.bias`` of each.
        rates: step of each of these.
        tasks: N of them.
        first_order: whether the step's gradients are taken for constants.

    Returns:
        On query with a graph, on support without. Shapes: (N,), (N,).
    """
    weights = [parameters[f"{name}.weight"] for name in layers]
    biases = [parameters[f"{name}.bias"] for name in layers]
    inputs, z = [tasks.support.inputs], tasks.support.inputs
    for index, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        z = nn.functional.linear(inputs[-1], weight, bias)
        if index < len(layers) - 1:
            inputs.append(torch.relu(z))
    error = z - tasks.support.targets
    before = error.detach().square().mean((-2, -1))
    back = 2.0 / (error.shape[-2] * error.shape[-1]) * error
    backs = [back]
    for weight, seen in zip(weights[:0:-1], inputs[:0:-1], strict=True):
        back = (back @ weight) * (seen > 0.0)
        backs.insert(0, back)
    if first_order:
        inputs, backs = [each.detach() for each in inputs], [each.detach() for each in backs]
    q = tasks.query.inputs
    for index, name in enumerate(layers):
        like = rates[f"{name}.weight"] * (q @ inputs[index].transpose(-2, -1)) + rates[f"{name}.bias"]
        q = nn.functional.linear(q, weights[index], biases[index]) - like @ backs[index]
        if index < len(layers) - 1:
            q = torch.relu(q)
    return (q - tasks.query.targets).square().mean((-2, -1)), before
