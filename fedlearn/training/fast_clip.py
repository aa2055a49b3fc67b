"""Clipped gradient sums from one backward pass, mostly without any record's gradient.

Of a Linear layer the gradient of one record is Gᵀ A: output gradients (T, p) times inputs (T, q). Its norm
follows from A and G, and the clipped sum of all records is one matrix product with G scaled ("ghost
norm", Goodfellow 2015; "book-keeping", Bu et al. 2023, Algorithm 1). An Embedding is a Linear layer of
one-hot inputs. A layer that a model calls T times, as a recurrent cell is, is one with T positions.
Of convolutions and norms the records' gradients are small, and are taken from Opacus' own rules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from opacus.grad_sample import GradSampleHooks
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from fedlearn.errors import ModelError
from fedlearn.training.clipping import factors_of, square_norms

_BY_OPACUS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.GroupNorm, nn.LayerNorm)
_BY_FORMULA = (nn.Linear, nn.Embedding)

# Half the spacing of float32 below 1: a sum of T products is off by at most T · 2^-24 · Σ|products|.
_HALF_SPACING = 2.0**-24

# A value of a T × T Gram matrix in float64, against one of a record's gradient in float32.
_GRAM_COST = 4


@dataclass(frozen=True)
class Call:
    """One forward call of a layer, as long as its gradient is not known.

    Attributes:
      inputs: what came in, (b, …).
      output: what came out, (b, …).
      versions: of the memory of both; a change means that it was overwritten.
      edge: where the gradient of the output arrives, also after an overwriting activation.
    """

    inputs: Tensor
    output: Tensor
    versions: tuple[int, int]
    edge: GradientEdge


class LayerSum(Protocol):
    """One layer's part: what it adds to each record's ‖g‖², and to the clipped sum."""

    def squares(self) -> Tensor:
        """Returns ‖g‖² of each record over this layer's parameters, rounded up, shape (b,), float64."""

    def weighed(self, factors: Tensor, kept: Tensor | None) -> dict[Tensor, Tensor]:
        """Returns Σ factor · g over the kept records (None: all) for each parameter, flat."""


class FastClip:
    """Computes clipped gradient sums of one model; forward hooks stay on it for its life.

    Args:
      module: a model for which :meth:`supports` holds.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._parameters = [p for p in module.parameters() if p.requires_grad]
        self._layers = [layer for layer in module.modules() if _trainable(layer)]
        self._calls: dict[nn.Module, list[Call]] = {}
        for layer in self._layers:
            layer.register_forward_hook(self._note)

    @staticmethod
    def supports(module: nn.Module) -> bool:
        """Returns whether every trainable parameter belongs to exactly one layer of a kind known here."""
        layers = [layer for layer in module.modules() if _trainable(layer)]
        owned = [p for layer in layers for p in _trainable(layer)]
        known = all(type(layer) in _BY_FORMULA + _BY_OPACUS for layer in layers)
        plain = all(_is_plain(layer) for layer in layers if isinstance(layer, nn.Embedding))
        return known and plain and len({id(p) for p in owned}) == len(owned)

    @property
    def held_values(self) -> int:
        """Per-record gradient values that one record needs: those of layers without a formula."""
        layers = [layer for layer in self._layers if type(layer) in _BY_OPACUS]
        return sum(p.numel() for layer in layers for p in _trainable(layer))

    def clipped_sum(
        self, losses: Callable[[Tensor, Tensor], Tensor], inputs: Tensor, targets: Tensor, bound: float
    ) -> Tensor:
        """Returns Σ g · min(1, C / ‖g‖) over records, shape (d,), float32.

        Args:
          losses: (outputs, targets) → loss of each record, (b,).
          inputs: records, (b, …), b ≥ 1.
          targets: their targets, (b, …).
          bound: C > 0.

        Raises:
          ModelError: a layer's inputs do not begin with the record, or were overwritten.
        """
        self._calls = {}
        total = losses(self._module(inputs), targets).sum()
        called, self._calls = self._calls, {}
        parts = self._parts(total, called, records=len(inputs))
        squares = torch.zeros(len(inputs), dtype=torch.float64)
        for part in parts:
            squares += part.squares()
        return self._flat(parts, factors_of(squares, bound))

    def _parts(self, total: Tensor, called: dict[nn.Module, list[Call]], *, records: int) -> list[LayerSum]:
        calls = [(layer, call) for layer, noted in called.items() for call in noted]
        edges = [call.edge for _, call in calls]
        arrived = torch.autograd.grad(total, edges, allow_unused=True) if edges else ()
        by_layer: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {}
        for (layer, call), gradient in zip(calls, arrived, strict=True):
            _check(layer, call, records, lost=gradient is None)
            if gradient is not None:
                by_layer.setdefault(layer, []).append((call.inputs, gradient))
        return [_part(layer, pairs) for layer, pairs in by_layer.items()]

    def _flat(self, parts: list[LayerSum], factors: Tensor) -> Tensor:
        # Zero times NaN is NaN: records that count for nothing are taken out, not weighed.
        kept = None if bool((factors > 0).all()) else factors > 0
        factors = _taken(factors, kept)
        sums: dict[Tensor, Tensor] = {}
        for part in parts:
            sums.update(part.weighed(factors, kept))
        return torch.cat([sums[p] if p in sums else torch.zeros(p.numel()) for p in self._parameters])

    def _note(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if torch.is_grad_enabled() and layer.training:
            given = inputs[0].detach()
            versions = given._version, output._version
            call = Call(inputs=given, output=output, versions=versions, edge=get_gradient_edge(output))
            self._calls.setdefault(layer, []).append(call)


class LinearSum:
    """A Linear layer: inputs (b, T, q), output gradients (b, T, p), over all its calls."""

    def __init__(self, layer: nn.Linear, pairs: list[tuple[Tensor, Tensor]]) -> None:
        self._layer = layer
        self._inputs = _positions([inputs for inputs, _ in pairs])
        self._gradients = _positions([gradient for _, gradient in pairs])

    def squares(self) -> Tensor:
        """Returns ‖Gᵀ A‖² + ‖Gᵀ 1‖², rounded up by what the weighed sum may be off."""
        inputs, gradients = self._inputs, self._gradients
        sizes = torch.zeros(len(inputs), dtype=torch.float64)
        if self._layer.weight.requires_grad:
            sizes += _outer_squares(inputs, gradients)
        if self._layer.bias is not None and self._layer.bias.requires_grad:
            size = gradients.norm(dim=2).double().sum(dim=1)
            sizes += _rounded_up(square_norms(gradients.sum(dim=1)), size, positions=gradients.shape[1])
        return sizes

    def weighed(self, factors: Tensor, kept: Tensor | None) -> dict[Tensor, Tensor]:
        """Returns (c · G)ᵀ A and (c · G)ᵀ 1, flat."""
        scaled = (_taken(self._gradients, kept) * factors[:, None, None]).flatten(0, 1)
        sums = {}
        if self._layer.weight.requires_grad:
            inputs = _taken(self._inputs, kept).flatten(0, 1)
            sums[self._layer.weight] = (scaled.T @ inputs).flatten()
        if self._layer.bias is not None and self._layer.bias.requires_grad:
            sums[self._layer.bias] = scaled.sum(dim=0)
        return sums


class EmbeddingSum:
    """An Embedding: tokens (b, T), output gradients (b, T, q), over all its calls."""

    def __init__(self, layer: nn.Embedding, pairs: list[tuple[Tensor, Tensor]]) -> None:
        self._layer = layer
        self._tokens = torch.cat([inputs.reshape(len(inputs), -1) for inputs, _ in pairs], dim=1)
        self._gradients = _positions([gradient for _, gradient in pairs])

    def squares(self) -> Tensor:
        """Returns the sum of Gₛ · Gₜ over all positions s, t with the same token, rounded up."""
        gradients = self._gradients
        records, positions, width = gradients.shape
        size = gradients.norm(dim=2).double().sum(dim=1)
        tokens = self._layer.num_embeddings
        if _GRAM_COST * positions**2 < tokens * width:
            same = (self._tokens[:, :, None] == self._tokens[:, None, :]).double()
            wide = gradients.double()
            squares = (torch.bmm(wide, wide.transpose(1, 2)) * same).sum(dim=(1, 2))
        else:
            rows = self._tokens + torch.arange(records)[:, None] * tokens
            table = torch.zeros(records * tokens, width)
            table.index_add_(0, rows.flatten(), gradients.flatten(0, 1))
            squares = square_norms(table.view(records, -1))
        return _rounded_up(squares, size, positions=positions)

    def weighed(self, factors: Tensor, kept: Tensor | None) -> dict[Tensor, Tensor]:
        """Returns Σ c · G, added up per token, flat."""
        scaled = _taken(self._gradients, kept) * factors[:, None, None]
        total = torch.zeros_like(self._layer.weight, requires_grad=False)
        total.index_add_(0, _taken(self._tokens, kept).flatten(), scaled.flatten(0, 1))
        return {self._layer.weight: total.flatten()}


class SampledSum:
    """A layer whose per-record gradients are made, by the rule that Opacus has for it."""

    def __init__(self, layer: nn.Module, pairs: list[tuple[Tensor, Tensor]]) -> None:
        rule = GradSampleHooks.GRAD_SAMPLERS[type(layer)]
        self._samples: dict[Tensor, Tensor] = {}
        for inputs, gradient in pairs:
            for parameter, sample in rule(layer, [inputs], gradient).items():
                if parameter.requires_grad:
                    flat = sample.flatten(1)
                    before = self._samples.get(parameter)
                    self._samples[parameter] = flat if before is None else before + flat

    def squares(self) -> Tensor:
        """Returns ‖g‖² over the layer's parameters."""
        return torch.stack([square_norms(sample) for sample in self._samples.values()]).sum(dim=0)

    def weighed(self, factors: Tensor, kept: Tensor | None) -> dict[Tensor, Tensor]:
        """Returns Σ c · g for each parameter."""
        return {p: factors @ _taken(sample, kept) for p, sample in self._samples.items()}


def _part(layer: nn.Module, pairs: list[tuple[Tensor, Tensor]]) -> LayerSum:
    if isinstance(layer, nn.Linear):
        return LinearSum(layer, pairs)
    if isinstance(layer, nn.Embedding):
        return EmbeddingSum(layer, pairs)
    return SampledSum(layer, pairs)


def _outer_squares(inputs: Tensor, gradients: Tensor) -> Tensor:
    """Returns ‖Gᵀ A‖² of each record, rounded up, shape (b,), float64."""
    positions, width = inputs.shape[1:]
    if positions == 1:
        return square_norms(inputs[:, 0]) * square_norms(gradients[:, 0])
    size = (inputs.norm(dim=2).double() * gradients.norm(dim=2).double()).sum(dim=1)
    if _GRAM_COST * positions**2 < width * gradients.shape[2]:
        # In float64, because products cancel: a norm that comes out too small would break the bound.
        wide, deep = inputs.double(), gradients.double()
        gram = torch.bmm(wide, wide.transpose(1, 2)) * torch.bmm(deep, deep.transpose(1, 2))
        squares = gram.sum(dim=(1, 2))
    else:
        squares = square_norms(torch.bmm(gradients.transpose(1, 2), inputs).flatten(1))
    return _rounded_up(squares, size, positions=positions)


def _rounded_up(squares: Tensor, size: Tensor, *, positions: int) -> Tensor:
    """Returns (‖g‖ + T · 2^-24 · size)²: at least the norm of what float32 makes of the weighed sum.

    Args:
      squares: ‖g‖² as computed; may be slightly negative.
      size: sum of the norms of the T terms that add up to g.
      positions: T.
    """
    return (squares.clamp(min=0.0).sqrt() + positions * _HALF_SPACING * size).square()


def _positions(tensors: list[Tensor]) -> Tensor:
    """Returns (b, T, width) from (b, width) or (b, …, width) of every call."""
    wide = [tensor.reshape(len(tensor), -1, tensor.shape[-1]) for tensor in tensors]
    return wide[0] if len(wide) == 1 else torch.cat(wide, dim=1)


def _taken(tensor: Tensor, kept: Tensor | None) -> Tensor:
    return tensor if kept is None else tensor[kept]


def _trainable(layer: nn.Module) -> list[nn.Parameter]:
    return [p for p in layer.parameters(recurse=False) if p.requires_grad]


def _is_plain(layer: nn.Embedding) -> bool:
    unusual = layer.max_norm is not None or layer.padding_idx is not None
    return not (unusual or layer.scale_grad_by_freq or layer.sparse)


def _check(layer: nn.Module, call: Call, records: int, *, lost: bool) -> None:
    name = type(layer).__name__
    if len(call.inputs) != records:
        raise ModelError(
            f"{name}: inputs of shape {tuple(call.inputs.shape)} do not begin with the {records} records of"
            " the batch; keep the record as the first dimension of every layer's input"
        )
    inputs_before, output_before = call.versions
    # Overwriting a view replaces its place in the graph, and the gradient no longer comes by.
    if call.inputs._version != inputs_before or (lost and call.output._version != output_before):
        raise ModelError(f"{name}: its input or output was overwritten in place; use inplace=False or a copy")
