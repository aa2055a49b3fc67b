"""What a layer adds to each record's gradient norm, and to the clipped sum.

Of a Linear layer the gradient of one record is Gᵀ A: output gradients (T, p) times inputs (T, q). Its norm
follows from A and G, and the clipped sum of all records is one matrix product with G scaled ("ghost
norm", Goodfellow 2015; "book-keeping", Bu et al. 2023, Algorithm 1). An Embedding is a Linear layer of
one-hot inputs. A layer that a model calls T times, as a recurrent cell is, is one with T positions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedlearn.training.clipping import square_norms, taken

Pairs: TypeAlias = list[tuple[Tensor, Tensor]]
"""Inputs (b, …) and output gradients (b, …) of every call of a layer."""

Weighted: TypeAlias = nn.Linear | nn.Conv1d | nn.Conv2d
"""A layer of a weight and perhaps a bias."""

SampleRule: TypeAlias = Callable[[nn.Module, Tensor, Tensor], dict[Tensor, Tensor]]
"""``(layer, inputs, output gradients) -> parameter → per-record gradients (b, …)``."""

# Half the spacing of float32 below 1. A sum of T products in any order is off by less than 4 √T of it times
# the root of the sum of their squares, but for a chance of 1e-3 per entry (Higham and Mary 2019, 3.1).
_HALF_SPACING = 2.0**-24
_DEVIATIONS = 4.0

# A value of a T × T Gram matrix in float64, against one of a record's gradient in float32.
_GRAM_COST = 4


class LayerSum(Protocol):
    """One layer's part in the clipped sum."""

    def squares(self) -> Tensor:
        """Returns ‖g‖² of each record over this layer's parameters, shape (b,), float64."""

    def rounding(self) -> Tensor | None:
        """Returns a bound on what float32 adds to the norm of a record's part of the sum, (b,); None: 0."""

    def add_to(self, sums: Mapping[Tensor, Tensor], factors: Tensor, kept: Tensor | None) -> None:
        """Adds Σ factor · g over the kept records (None: all) to the sum of each parameter."""


class LinearSum:
    """A Linear layer: inputs (b, T, q) and output gradients (b, T, p), or (b, q) and (b, p).

    Its norms come from products of positions, so no record's gradient is made.
    """

    def __init__(self, layer: Weighted, inputs: Tensor, gradients: Tensor) -> None:
        self._weight, self._bias = _trained(layer)
        self._inputs, self._gradients = inputs, gradients

    def squares(self) -> Tensor:
        """Returns ‖Gᵀ A‖² + ‖Gᵀ 1‖²."""
        if self._gradients.dim() == 2:
            sizes = square_norms(self._gradients)
            if self._weight is None:
                return sizes
            return sizes * (square_norms(self._inputs) + (self._bias is not None))
        # In float64, because products cancel: a norm that comes out too small would break the bound.
        deep = self._gradients.double()
        products = torch.bmm(deep, deep.transpose(1, 2))
        if self._weight is None:
            return products.sum(dim=(1, 2)).clamp(min=0.0)
        wide = self._inputs.double()
        alike = torch.bmm(wide, wide.transpose(1, 2)) + (self._bias is not None)
        return (products * alike).sum(dim=(1, 2)).clamp(min=0.0)

    def rounding(self) -> Tensor | None:
        """Returns a bound over both parameters; none where nothing is summed over positions."""
        if self._gradients.dim() == 2:
            return None
        sizes = _sizes(self._gradients)
        return _rounding(sizes * (_sizes(self._inputs).square() + 1.0).sqrt())

    def add_to(self, sums: Mapping[Tensor, Tensor], factors: Tensor, kept: Tensor | None) -> None:
        """Adds (c · G)ᵀ A and (c · G)ᵀ 1."""
        gradients, inputs = taken(self._gradients, kept), taken(self._inputs, kept)
        if gradients.dim() == 2:
            scaled = gradients * factors[:, None]
        else:
            scaled, inputs = (gradients * factors[:, None, None]).flatten(0, 1), inputs.flatten(0, 1)
        if self._weight is not None:
            sums[self._weight].flatten(1).addmm_(scaled.T, inputs)
        if self._bias is not None:
            sums[self._bias].add_(scaled.sum(dim=0))


def add_linear(layer: Weighted, pairs: Pairs, *, parts: list[LayerSum], sampled: SampleSum) -> None:
    """Adds a Linear layer to the parts, over all its calls.

    With few positions its gradients are not made. With so many that their T × T products are larger
    than a record's gradient, that gradient is made, and is the sum as well.
    """
    if len(pairs) == 1 and pairs[0][0].dim() == 2:
        parts.append(LinearSum(layer, *pairs[0]))
        return
    inputs, gradients = (_positions([pair[side] for pair in pairs]) for side in (0, 1))
    positions, width = inputs.shape[1:]
    if _GRAM_COST * positions**2 < width * gradients.shape[2]:
        parts.append(LinearSum(layer, inputs, gradients))
        return
    weight, bias = _trained(layer)
    if weight is not None:
        sampled.add(weight, torch.bmm(gradients.transpose(1, 2), inputs))
    if bias is not None:
        sampled.add(bias, gradients.sum(dim=1))


def add_convolution(
    layer: nn.Conv1d | nn.Conv2d, pairs: Pairs, *, parts: list[LayerSum], sampled: SampleSum
) -> None:
    """Adds a convolution as the Linear layer that it is on patches, (b, out pixels, channels · kernel)."""
    unfolded = [(_patches(layer, inputs), grads.flatten(2).transpose(1, 2)) for inputs, grads in pairs]
    add_linear(layer, unfolded, parts=parts, sampled=sampled)


def _patches(layer: nn.Conv1d | nn.Conv2d, inputs: Tensor) -> Tensor:
    # A sequence is an image of height 1.
    ones, zeros = (1,) * (4 - inputs.dim()), (0,) * (4 - inputs.dim())
    flat = inputs.reshape(*inputs.shape[:2], *ones, *inputs.shape[2:])
    sizes = {"kernel_size": ones + layer.kernel_size, "stride": ones + layer.stride}
    padding = zeros + tuple(int(side) for side in layer.padding)
    return functional.unfold(flat, dilation=ones + layer.dilation, padding=padding, **sizes).transpose(1, 2)


def _trained(layer: Weighted) -> tuple[Tensor | None, Tensor | None]:
    """Returns weight and bias, None for one that is frozen or absent."""
    bias = layer.bias if layer.bias is not None and layer.bias.requires_grad else None
    return layer.weight if layer.weight.requires_grad else None, bias


class EmbeddingSum:
    """An Embedding: tokens (b, T), output gradients (b, T, q), over all its calls."""

    def __init__(self, layer: nn.Embedding, pairs: Pairs) -> None:
        self._weight = layer.weight
        self._tokens = torch.cat([inputs.reshape(len(inputs), -1) for inputs, _ in pairs], dim=1)
        self._gradients = _positions([gradient for _, gradient in pairs])
        if layer.padding_idx is not None:
            self._gradients = self._gradients * (self._tokens != layer.padding_idx)[:, :, None]

    def squares(self) -> Tensor:
        """Returns the sum of Gₛ · Gₜ over all positions s, t with the same token."""
        records, positions, width = self._gradients.shape
        tokens = len(self._weight)
        if _GRAM_COST * positions**2 < tokens * width:
            same = self._tokens[:, :, None] == self._tokens[:, None, :]
            wide = self._gradients.double()
            return (torch.bmm(wide, wide.transpose(1, 2)) * same).sum(dim=(1, 2)).clamp(min=0.0)
        rows = self._tokens + torch.arange(records, device=self._tokens.device)[:, None] * tokens
        table = torch.zeros(records * tokens, width, device=self._gradients.device)
        table.index_add_(0, rows.flatten(), self._gradients.flatten(0, 1))
        return square_norms(table.view(records, -1))

    def rounding(self) -> Tensor | None:
        """Returns a bound for the case that all positions hold one token."""
        return _rounding(_sizes(self._gradients))

    def add_to(self, sums: Mapping[Tensor, Tensor], factors: Tensor, kept: Tensor | None) -> None:
        """Adds c · G to the rows of its tokens."""
        scaled = taken(self._gradients, kept) * factors[:, None, None]
        sums[self._weight].index_add_(0, taken(self._tokens, kept).flatten(), scaled.flatten(0, 1))


class SampleSum:
    """Layers whose per-record gradients are made; those that share a parameter are added up."""

    def __init__(self) -> None:
        self._samples: dict[Tensor, Tensor] = {}

    @property
    def made(self) -> bool:
        """Whether there is any gradient."""
        return bool(self._samples)

    def make(self, layer: nn.Module, rule: SampleRule, pairs: Pairs) -> None:
        """Makes the gradients of one layer by its rule, over all its calls."""
        for inputs, gradient in pairs:
            for parameter, sample in rule(layer, inputs, gradient).items():
                if parameter.requires_grad:
                    self.add(parameter, sample)

    def add(self, parameter: Tensor, sample: Tensor) -> None:
        """Adds per-record gradients (b, …) of one parameter."""
        flat, before = sample.reshape(len(sample), -1), self._samples.get(parameter)
        self._samples[parameter] = flat if before is None else before + flat

    def squares(self) -> Tensor:
        """Returns ‖g‖² over the parameters of these layers."""
        return torch.stack([square_norms(sample) for sample in self._samples.values()]).sum(dim=0)

    def rounding(self) -> Tensor | None:
        """Returns None: the norm is taken of what is summed."""
        return None

    def add_to(self, sums: Mapping[Tensor, Tensor], factors: Tensor, kept: Tensor | None) -> None:
        """Adds Σ c · g."""
        for parameter, sample in self._samples.items():
            sums[parameter].view(-1).addmv_(taken(sample, kept).T, factors)


def _sizes(tensor: Tensor) -> Tensor:
    """Returns the norm of every position, (b, T, width) → (b, T), float64."""
    sizes: Tensor = torch.linalg.vector_norm(tensor, dim=2)
    wide: Tensor = sizes.double()
    return wide


def _rounding(sizes: Tensor) -> Tensor:
    """Returns the bound for a sum over positions of terms of these norms, (b, T) → (b,)."""
    deviation: Tensor = torch.linalg.vector_norm(sizes, dim=1)
    bound: Tensor = deviation * (_DEVIATIONS * _HALF_SPACING * sizes.shape[1] ** 0.5)
    return bound


def _positions(tensors: list[Tensor]) -> Tensor:
    """Returns (b, T, width) from (b, width) or (b, …, width) of every call."""
    wide = [tensor.reshape(len(tensor), -1, tensor.shape[-1]) for tensor in tensors]
    return wide[0] if len(wide) == 1 else torch.cat(wide, dim=1)
