"""Training of a generator, and training on what it generates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import ConcatDataset, Dataset, TensorDataset

from fedlearn._types import Vector
from fedlearn.models.conditional_vae import ConditionalVae
from fedlearn.training.batches import RecordSet, size_of
from fedlearn.training.vector import FlatModel

_OBSERVED_VARIANCE = 0.05
"""Variance that the generator's likelihood gives to a value about its reconstruction."""


@dataclass(frozen=True, kw_only=True)
class EvidenceBound:
    """The negative evidence lower bound of a :class:`~fedlearn.models.conditional_vae.ConditionalVae`.

    Per value of the record: squared error + 2 v / d · KL(code ‖ N(0, I)), v the observed variance
    (Kingma and Welling 2014, equation 10, for a Gaussian likelihood).

    Attributes:
      latent: number of latent values.
    """

    latent: int

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns the mean over a batch."""
        return self.each(outputs, targets).mean()

    def each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns the loss of each record, (n,)."""
        sizes = [targets.shape[1], self.latent, self.latent]
        values, mean, spread = torch.split(outputs, sizes, dim=1)
        errors: Tensor = (values - targets).square().mean(dim=1)
        divergence: Tensor = 0.5 * (mean.square() + spread.exp() - 1.0 - spread).sum(dim=1)
        return errors + 2.0 * _OBSERVED_VARIANCE / targets.shape[1] * divergence


class Labelled(Dataset[tuple[Tensor, ...]]):
    """(values and label one-hot, values) of every record: what a conditional generator learns from.

    Args:
      records: data set of (inputs, target).
      classes: number of labels.
    """

    def __init__(self, records: RecordSet, classes: int) -> None:
        self._records = records
        self._classes = classes

    def __len__(self) -> int:
        return size_of(self._records, client="synthesis")

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        inputs, target = (torch.as_tensor(part) for part in self._records[index])
        rows, values = labelled_rows(inputs[None], target[None], self._classes)
        return rows[0], values[0]


def labelled(records: RecordSet, classes: int) -> RecordSet:
    """Returns the records as a generator learns from them; in memory, if they are."""
    if isinstance(records, TensorDataset):
        inputs, targets = records.tensors
        return TensorDataset(*labelled_rows(inputs, targets, classes))
    return Labelled(records, classes)


def labelled_rows(inputs: Tensor, targets: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Returns rows (n, values + classes) and values (n, values) of records (n, …) and labels (n,)."""
    values = inputs.flatten(1)
    return torch.cat([values, functional.one_hot(targets, classes).to(values.dtype)], dim=1), values


class SyntheticBeside:
    """A client's records with synthetic ones beside them, as the last generator makes them.

    Args:
      own: the client's records.
      generator: whose parameters :meth:`receive` sets.
      records: how many synthetic ones there are; their labels take turns over all classes.
      seed: of their draws: public, and the client's own.
    """

    def __init__(self, own: RecordSet, generator: FlatModel, *, records: int, seed: Sequence[int]) -> None:
        self._own = own
        self._generator = generator
        self._records = records
        self._seed = int(np.random.SeedSequence(list(seed)).generate_state(1, np.uint64)[0] >> np.uint64(1))
        self._received: bytes | None = None
        self._beside: RecordSet = own

    def receive(self, params: Vector) -> None:
        """Makes the synthetic records anew, if the generator is another one."""
        received = params.tobytes()
        if received == self._received:
            return
        self._generator.load(params)
        module = self._generator.module
        if not isinstance(module, ConditionalVae):
            raise TypeError(f"{type(module).__name__} generates no records")
        labels = torch.arange(self._records) % module.classes
        values = module.sample(labels, torch.Generator().manual_seed(self._seed))
        self._beside = _beside(self._own, values, labels)
        self._received = received

    def records(self) -> RecordSet:
        """Returns the client's records and the synthetic ones behind them."""
        return self._beside


class Training(Protocol):
    """Local training, whatever else it takes."""

    def train(self, params: Vector, *, round: int) -> Any:
        """Returns what the client answers with."""
        ...


@dataclass(frozen=True, kw_only=True)
class WithSynthetic:
    """Training beside synthetic records: the generator comes behind what the trainer itself is sent.

    Attributes:
      trainer: trains on ``source.records()``.
      source: the records.
      length: of the generator's vector.
    """

    trainer: Training = field(repr=False)
    source: SyntheticBeside = field(repr=False)
    length: int

    def train(self, params: Vector, *, round: int) -> Any:
        """Returns what the trainer answers with."""
        self.source.receive(params[len(params) - self.length :])
        return self.trainer.train(params[: len(params) - self.length], round=round)


def _beside(own: RecordSet, values: Tensor, labels: Tensor) -> RecordSet:
    synthetic = TensorDataset(values, labels)
    if isinstance(own, TensorDataset):
        return TensorDataset(torch.cat([own.tensors[0], values]), torch.cat([own.tensors[1], labels]))
    return ConcatDataset([own, synthetic])
