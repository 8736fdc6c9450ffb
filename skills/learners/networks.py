"""Ensembles of small networks over one flat tensor, with gradients written out by hand.

All parameters of an ensemble are views into one flat tensor and so are their gradients, so the optimiser and the moving
average are one call each. Activations live in buffers made once. Against autograd on the same arithmetic this saves the
graph, every allocation, and the weight gradients of the critics in the actor's loss.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

_threshold_backward = torch.ops.aten.threshold_backward.grad_input
_layer_norm_backward = torch.ops.aten.native_layer_norm_backward


class Linear(NamedTuple):
    """One layer of each of E members."""

    weight: Tensor
    """Shape: (E, in, out)."""
    bias: Tensor
    """Shape: (E, 1, out)."""


def parameter_count(members: int, sizes: tuple[int, ...]) -> int:
    """Number of parameters of ``members`` networks with these layer widths."""
    return members * sum(fan_in * fan_out + fan_out for fan_in, fan_out in pairwise(sizes))


def bind(flat: Tensor, members: int, sizes: tuple[int, ...]) -> list[Linear]:
    """View a flat tensor as the layers of an ensemble: weights, then biases, layer by layer."""
    layers, at = [], 0
    for fan_in, fan_out in pairwise(sizes):
        weight = flat[at : at + members * fan_in * fan_out].view(members, fan_in, fan_out)
        at += weight.numel()
        bias = flat[at : at + members * fan_out].view(members, 1, fan_out)
        at += bias.numel()
        layers.append(Linear(weight, bias))
    return layers


def initialise(layers: list[Linear], generator: torch.Generator) -> None:
    """Fill with uniform numbers within 1 / sqrt(inputs), the default of torch's own linear layers."""
    for weight, bias in layers:
        bound = weight.shape[1] ** -0.5
        weight.uniform_(-bound, bound, generator=generator)
        bias.uniform_(-bound, bound, generator=generator)


class Trunk:
    """Everything of an ensemble after its first matrix product, and the buffers of one forward and backward pass.

    The caller writes the first layer's product into ``first`` and turns ``first_grad`` into that layer's gradients, for
    it knows how the input is put together. A hidden layer is: dropout, layer normalisation without gain and offset
    (the next layer's weights stand in for the gain), ReLU; the first two are optional, as in DroQ (Hiraoka et al. 2022,
    arXiv 2110.02034).
    """

    def __init__(
        self,
        members: int,
        sizes: tuple[int, ...],
        rows: int,
        *,
        layer_norm: bool = False,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        """Make the buffers for ``rows`` rows of a network with these layer widths."""
        shapes = [(members, rows, width) for width in sizes[1:-1]]
        self._hidden = [torch.zeros(shape) for shape in shapes]
        self._grads = [torch.zeros(shape) for shape in shapes]
        self._normed = [torch.zeros(shape) for shape in shapes] if layer_norm else self._hidden
        self._moments: list[tuple[Tensor, Tensor]] = [(torch.zeros(0), torch.zeros(0)) for _ in shapes]
        self._masks = [torch.zeros(shape) for shape in shapes] if dropout else []
        self._layer_norm = layer_norm
        self._keep = 1.0 - dropout
        self._generator = generator
        self.out = torch.zeros(members, rows, sizes[-1])
        """Shape: (members, rows, outputs)."""

    @property
    def first(self) -> Tensor:
        """Where the caller writes the first layer's product. Shape: (members, rows, width)."""
        return self._hidden[0]

    @property
    def first_grad(self) -> Tensor:
        """Gradient of the loss by ``first`` after `backward`. Shape: (members, rows, width)."""
        return self._grads[0]

    def forward(self, layers: list[Linear]) -> Tensor:
        """Run the layers on what stands in ``first``. Returns ``out``."""
        for index in range(len(self._hidden)):
            if index:
                torch.baddbmm(
                    layers[index].bias, self._normed[index - 1], layers[index].weight, out=self._hidden[index]
                )
            self._activate(index)
        last, hidden = layers[-1], self._normed[-1]
        if self.out.shape[-1] > 1:
            return torch.baddbmm(last.bias, hidden, last.weight, out=self.out)
        # A batched product with a single column is ten times slower than one matrix-vector product per member.
        for member, out in enumerate(self.out):
            torch.addmm(last.bias[member], hidden[member], last.weight[member], out=out)
        return self.out

    def backward(self, layers: list[Linear], grads: list[Linear], grad_out: Tensor, learn_rows: int) -> None:
        """Fill ``first_grad`` for the rows of ``grad_out`` and ``grads`` of all layers but the first.

        Args:
            layers: parameters of the last forward pass.
            grads: where the parameters' gradients go; the first entry is the caller's.
            grad_out: gradient of the loss by the first rows of ``out``. Shape: (members, rows, outputs).
            learn_rows: rows whose loss is one of these parameters; the others only pass their gradient to the input.
        """
        rows = grad_out.shape[1]
        grad = grad_out
        for index in reversed(range(len(self._hidden))):
            layer, into = layers[index + 1], grads[index + 1]
            learned = grad[:, :learn_rows]
            hidden = self._normed[index][:, :learn_rows]
            before = self._grads[index][:, :rows]
            torch.sum(learned, dim=1, keepdim=True, out=into.bias)
            if grad.shape[-1] > 1:
                torch.bmm(hidden.mT, learned, out=into.weight)
                torch.bmm(grad, layer.weight.mT, out=before)
            else:
                for member, weight in enumerate(into.weight):
                    torch.mm(hidden[member].T, learned[member], out=weight)
                torch.mul(grad, layer.weight.mT, out=before)
            self._deactivate(index, before)
            grad = before

    def _activate(self, index: int) -> None:
        hidden = self._hidden[index]
        if self._masks:
            mask = self._masks[index].bernoulli_(self._keep, generator=self._generator)
            hidden.mul_(mask.div_(self._keep))
        if self._layer_norm:
            normed, mean, scale = torch.native_layer_norm(hidden, hidden.shape[-1:], None, None, 1e-5)
            self._normed[index] = normed
            self._moments[index] = (mean, scale)
        self._normed[index].relu_()

    def _deactivate(self, index: int, grad: Tensor) -> None:
        rows = grad.shape[1]
        _threshold_backward(grad, self._normed[index][:, :rows], 0, grad_input=grad)
        if self._layer_norm:
            hidden = self._hidden[index][:, :rows]
            mean, scale = (moment[:, :rows] for moment in self._moments[index])
            wanted = [True, False, False]
            grad.copy_(_layer_norm_backward(grad, hidden, hidden.shape[-1:], mean, scale, None, None, wanted)[0])
        if self._masks:
            grad.mul_(self._masks[index][:, :rows])
