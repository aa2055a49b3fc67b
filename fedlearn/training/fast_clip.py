"""Clipped gradient sums from one backward pass, mostly without any record's gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import reduce
from operator import add
from typing import cast

import torch
from torch import Tensor, nn

from fedlearn.stopwatch import phase
from fedlearn.training.clip_rules import clipped_layers, opacus_samples, own_samples, rules_of, trainable
from fedlearn.training.clipping import Clipping, factors_of, kept_records, taken
from fedlearn.training.layer_calls import LayerCalls
from fedlearn.training.layer_sums import (
    EmbeddingSum,
    LayerSum,
    Pairs,
    SampleSum,
    add_convolution,
    add_linear,
)


class FastClip:
    """Computes clipped gradient sums of one model; forward hooks stay on it for its life.

    One forward pass, one backward pass to the outputs of the layers, and one matrix product per layer
    for the sum, which is what a step without privacy costs.

    Attributes:
      rules: layer's name → how it is clipped (see ``clip_rules``).

    Args:
      module: a model that Opacus' validator accepts.
      clipping: how to choose the rules.
      autocast: makes the context of a forward pass; norms and sums are float32 whatever it says.

    Raises:
      ModelError: a layer whose gradient for one record is not that record's alone.
    """

    def __init__(
        self,
        module: nn.Module,
        clipping: Clipping = "auto",
        *,
        autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._module = module
        self._parts = LayerParts(module, clipping)
        self._autocast = autocast
        self.rules = self._parts.rules

    @property
    def held_values(self) -> int:
        """Values that are held for one record, as far as is known: more after the first pass."""
        return self._parts.held_values

    def add_clipped_sum(
        self,
        sums: Mapping[Tensor, Tensor],
        losses: Callable[[Tensor, Tensor], Tensor],
        inputs: Tensor,
        targets: Tensor,
        bound: float,
    ) -> None:
        """Adds Σ g · min(1, C / ‖g‖) over records to the sum of each parameter.

        Args:
          sums: trainable parameter → its sum, of the same shape, float32; written.
          losses: (outputs, targets) → loss of each record, (b,).
          inputs: records, (b, …), b ≥ 1.
          targets: their targets, (b, …).
          bound: C > 0.

        Raises:
          ModelError: a layer's inputs do not begin with the record, or were overwritten.
        """
        with self.noting(), self._autocast():
            total = losses(self._module(inputs), targets).sum()
        self.add_noted_sum(sums, total, records=len(inputs), bound=bound)

    def noting(self) -> AbstractContextManager[None]:
        """Notes the layers' calls inside, for :meth:`add_noted_sum`; forgets those noted before."""
        return self._parts.calls.noting()

    def add_noted_sum(
        self, sums: Mapping[Tensor, Tensor], total: Tensor, *, records: int, bound: float
    ) -> None:
        """Adds the clipped sum over the records of a noted forward pass.

        Args:
          sums: trainable parameter → its sum, of the same shape, float32; written.
          total: the sum over the records' losses.
          records: how many there are, b ≥ 1.
          bound: C > 0.

        Raises:
          ModelError: a layer's inputs do not begin with the record, or were overwritten.
        """
        with torch.no_grad():
            parts = self._parts.of(total, records=records)
        with torch.no_grad(), phase("clipping"):
            factors = record_factors(parts, records=records, bound=bound)
            kept = kept_records(factors)
            for part in parts:
                part.add_to(sums, taken(factors, kept), kept)


class LayerParts:
    """The parts of a model's layers in the clipped sum, one :class:`LayerSum` per layer."""

    def __init__(self, module: nn.Module, clipping: Clipping) -> None:
        layers = list(clipped_layers(module))
        self.rules = rules_of(module, clipping)
        self.calls = LayerCalls(layers)
        self._rule = {layer: self.rules[name] for name, layer in layers}

    @property
    def held_values(self) -> int:
        """Values held for one record: gradients that are made, and what the last noted pass kept."""
        sampled = [layer for layer, rule in self._rule.items() if rule != "book-keeping"]
        made = sum(p.numel() for layer in sampled for p in trainable(layer))
        return made + self.calls.held_values

    def of(self, total: Tensor, *, records: int, again: bool = False) -> list[LayerSum]:
        """Returns the parts for the noted calls, after a backward pass; ``again`` keeps the graph."""
        parts, sampled = list[LayerSum](), SampleSum()
        by_layer = self.calls.gradients(total, records=records, again=again)
        with phase("clipping"):
            for layer, pairs in by_layer.items():
                rule = self._rule[layer]
                if rule == "book-keeping":
                    _add_by_formula(layer, pairs, parts=parts, sampled=sampled)
                else:
                    sampled.make(layer, opacus_samples if rule == "opacus" else own_samples, pairs)
        return [*parts, sampled] if sampled.made else parts


def record_factors(parts: list[LayerSum], *, records: int, bound: float) -> Tensor:
    """Returns what each record's gradient is multiplied by, shape (b,), float32."""
    if not parts:
        return torch.ones(records)
    squares = reduce(add, (part.squares() for part in parts))
    known = [layer for part in parts if (layer := part.rounding()) is not None]
    rounding = torch.linalg.vector_norm(torch.stack(known), dim=0) if known else None
    return factors_of(squares, bound, rounding=rounding)


def _add_by_formula(layer: nn.Module, pairs: Pairs, *, parts: list[LayerSum], sampled: SampleSum) -> None:
    if isinstance(layer, nn.Embedding):
        parts.append(EmbeddingSum(layer, pairs))
    elif isinstance(layer, nn.Conv1d | nn.Conv2d):
        add_convolution(layer, pairs, parts=parts, sampled=sampled)
    else:
        add_linear(cast(nn.Linear, layer), pairs, parts=parts, sampled=sampled)
