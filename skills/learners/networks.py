"""Ensembles of small networks over one flat tensor, with gradients written out by hand.

All parameters of an ensemble are views into one flat tensor and so are their gradients, so the optimiser and the moving
average are one call each. Activations live in buffers made once, each with a column of ones behind its units: a matrix
product with that column adds the bias, and the transposed one sums its gradient. Against autograd on the same
arithmetic this saves the graph, every allocation, all passes over biases, and the weight gradients of the critics in
the actor's loss. Products are made member by member, which the library spreads over threads better than a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from skills.learners.batch_norm import BatchNorm

_threshold_backward = torch.ops.aten.threshold_backward.grad_input
_layer_norm_backward = torch.ops.aten.native_layer_norm_backward
_LINE = 16
"""Floats in a cache line."""


class Linear:
    """One layer of each of E members, as views of a flat tensor."""

    def __init__(self, flat: Tensor, members: int, fan_in: int, fan_out: int) -> None:
        """View ``flat``, of E (in + 1) out numbers."""
        full = flat.view(members, fan_in + 1, fan_out)
        self.weight = full[:, :-1]
        """Shape: (E, in, out)."""
        self.bias = full[:, -1:]
        """Shape: (E, 1, out)."""
        self.members = full.unbind(0)
        """Weight and below it bias of each member. Shape of each: (in + 1, out)."""
        self.transposed = [weight.T for weight in self.weight]
        """Shape of each: (out, in)."""


def parameter_count(members: int, sizes: tuple[int, ...]) -> int:
    """Number of parameters of ``members`` networks with these layer widths."""
    return members * sum(fan_in * fan_out + fan_out for fan_in, fan_out in pairwise(sizes))


def bind(flat: Tensor, members: int, sizes: tuple[int, ...]) -> list[Linear]:
    """View a flat tensor as the layers of an ensemble; one member's weight and bias follow each other."""
    parts = torch.split_with_sizes(flat, [parameter_count(members, pair) for pair in pairwise(sizes)])
    return [Linear(part, members, *pair) for part, pair in zip(parts, pairwise(sizes), strict=True)]


def initialise(layers: list[Linear], generator: torch.Generator) -> None:
    """Fill with uniform numbers within 1 / sqrt(inputs), the default of torch's own linear layers."""
    for layer in layers:
        bound = layer.weight.shape[1] ** -0.5
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)


def with_ones(*shape: int) -> tuple[Tensor, Tensor]:
    """Buffer whose rows end in a one.

    Returns:
        The buffer in whole cache lines, zero behind the ones; and a view up to them. Shapes: (..., lines), (..., last
        of ``shape`` + 1).
    """
    width = shape[-1]
    buffer = torch.zeros(*shape[:-1], -(-(width + 1) // _LINE) * _LINE)
    buffer[..., width] = 1.0
    return buffer, buffer[..., : width + 1]


class Trunk:
    """Everything of an ensemble after its first matrix product, and the buffers of one forward and backward pass.

    The caller writes the first layer's product into ``first`` and turns ``first_grad`` into that layer's gradients, for
    it knows how the input is put together. A hidden layer is: dropout, layer normalisation without gain and offset
    (the next layer's weights stand in for the gain), ReLU, batch renormalisation. All but the ReLU are optional; the
    first two are those of DroQ (Hiraoka et al. 2022, arXiv 2110.02034), the last is that of CrossQ (`BatchNorm`).
    """

    def __init__(
        self,
        members: int,
        sizes: tuple[int, ...],
        rows: int,
        *,
        graded: int = 0,
        learned: slice = slice(0),
        layer_norm: bool = False,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
        batch_norm: BatchNorm | None = None,
    ) -> None:
        """Make the buffers.

        Args:
            members: number E of networks.
            sizes: layer widths, from input to output.
            rows: of one forward pass.
            graded: the first so many rows take part in a backward pass.
            learned: those of them whose loss is one of the parameters; the others only pass their gradient on.
            layer_norm: whether hidden layers are normalised row by row.
            dropout: share of units dropped.
            generator: of dropout.
            batch_norm: normalises hidden layers unit by unit.
        """
        widths = sizes[1:-1]
        self._graded = graded
        self._layer_norm = layer_norm
        self._keep = 1.0 - dropout
        self._generator = generator
        self._batch_norm = batch_norm
        self._padded, full = zip(*(with_ones(members, rows, width) for width in widths), strict=True)
        self._fed = [ones[..., :-1] for ones in full]
        """What the next layer sees. Shape of each: (E, rows, width)."""
        shapes = [(members, rows, width) for width in widths]
        self._active = [torch.zeros(shape) for shape in shapes] if batch_norm else self._fed
        """After the ReLU."""
        self._hidden = [torch.zeros(shape) for shape in shapes] if layer_norm else self._active
        """Before layer normalisation."""
        self._rectified = self._active if batch_norm else self._padded
        self._scales = [torch.zeros(members, rows, 1) for _ in shapes]
        self._no_mean = torch.zeros(members, graded, 1)
        self._masks = [torch.zeros(shape) for shape in shapes] if dropout else []
        self._grads = [torch.zeros(members, graded, width) for width in widths]
        self.out = torch.zeros(members, rows, sizes[-1])
        """Shape: (members, rows, outputs)."""
        self.out_grad = torch.zeros(members, graded, sizes[-1])
        """Gradient of the loss by the first rows of ``out``, for the caller to write. Shape: (E, graded, outputs)."""
        # One view per member and layer, because making a view costs as much as a small product.
        self._inputs = [ones.unbind(0) for ones in full]
        self._learned_inputs = [[member.T for member in ones[:, learned]] for ones in full]
        self._outputs: list[tuple[Tensor, ...]] = [part.unbind(0) for part in (*self._hidden, self.out)]
        self._output_grads: list[tuple[Tensor, ...]] = [part.unbind(0) for part in (*self._grads, self.out_grad)]
        self._learned_grads: list[tuple[Tensor, ...]] = [
            part[:, learned].unbind(0) for part in (*self._grads, self.out_grad)
        ]

    @property
    def first(self) -> tuple[Tensor, ...]:
        """Where the caller writes the first layer's product, by member. Shape of each: (rows, width)."""
        return self._outputs[0]

    @property
    def first_grad(self) -> tuple[Tensor, ...]:
        """Gradient of the loss by ``first`` after `backward`, by member. Shape of each: (graded, width)."""
        return self._output_grads[0]

    @property
    def first_learned(self) -> tuple[Tensor, ...]:
        """The rows of ``first_grad`` that are learned from. Shape of each: (learned, width)."""
        return self._learned_grads[0]

    def forward(self, layers: list[Linear], chosen: Sequence[int] | None = None) -> Tensor:
        """Run the layers on what stands in ``first``. Returns ``out``.

        Args:
            layers: parameters.
            chosen: the members whose parameters they are; None: all, in order.
        """
        for index, inputs in enumerate(self._inputs):
            self._activate(index)
            members = layers[index + 1].members
            used = members if chosen is None else [members[member] for member in chosen]
            for into, x, parameters in zip(self._outputs[index + 1], inputs, used, strict=True):
                if parameters.shape[1] > 1:
                    torch.mm(x, parameters, out=into)
                else:
                    torch.mv(x, parameters[:, 0], out=into[:, 0])
        return self.out

    def backward(self, layers: list[Linear], grads: list[Linear]) -> None:
        """Turn ``out_grad`` into ``first_grad`` and into ``grads`` of all layers but the first.

        Args:
            layers: parameters of the last forward pass.
            grads: where the parameters' gradients go; the first entry is the caller's.
        """
        for index in reversed(range(len(self._fed))):
            layer, into = layers[index + 1], grads[index + 1]
            single = layer.weight.shape[-1] == 1
            above, below = self._output_grads[index + 1], self._output_grads[index]
            for member, inputs in enumerate(self._learned_inputs[index]):
                learned = self._learned_grads[index + 1][member]
                if single:
                    torch.mv(inputs, learned[:, 0], out=into.members[member][:, 0])
                    torch.mul(above[member], layer.transposed[member], out=below[member])
                else:
                    torch.mm(inputs, learned, out=into.members[member])
                    torch.mm(above[member], layer.transposed[member], out=below[member])
            self._deactivate(index, self._grads[index])

    def _activate(self, index: int) -> None:
        hidden, active = self._hidden[index], self._active[index]
        if self._masks:
            mask = self._masks[index].bernoulli_(self._keep, generator=self._generator)
            hidden.mul_(mask.div_(self._keep))
        if self._layer_norm:
            # Twice as fast as torch's own, which goes through each row once, number by number.
            hidden.sub_(hidden.mean(-1, keepdim=True))
            variance = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True).square_().div_(hidden.shape[-1])
            torch.mul(hidden, torch.rsqrt(variance.add_(1e-5), out=self._scales[index]), out=active)
        # The ones behind the units stay ones.
        self._rectified[index].relu_()
        if self._batch_norm:
            self._batch_norm.forward(index, active, self._fed[index])

    def _deactivate(self, index: int, grad: Tensor) -> None:
        rows = self._graded
        active = self._active[index][:, :rows]
        if self._batch_norm:
            self._batch_norm.backward(index, active, grad)
        _threshold_backward(grad, active, 0, grad_input=grad)
        if self._layer_norm:
            hidden, scale = self._hidden[index][:, :rows], self._scales[index][:, :rows]
            wanted = [True, False, False]
            shape = hidden.shape[-1:]
            grad.copy_(_layer_norm_backward(grad, hidden, shape, self._no_mean, scale, None, None, wanted)[0])
        if self._masks:
            grad.mul_(self._masks[index][:, :rows])
