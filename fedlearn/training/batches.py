"""Which records enter which step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset, default_collate

from fedlearn.config import TrainingConfig
from fedlearn.errors import DataError
from fedlearn.stopwatch import timed

RecordSet: TypeAlias = Dataset[tuple[Tensor, ...]]
"""A map-style data set of (inputs, target)."""

_AHEAD: Final = 1 << 20
"""Values of records that are fetched at once, 4 MB, or one batch if that is more."""

CPU: Final = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class StepPlan:
    """The steps of one client in one round; public, as it derives from the declared size alone.

    Attributes:
      steps: number of optimizer steps in a round.
      sample_rate: chance that a given record enters a given step, in (0, 1].
      batch_size: records per step when they are dealt in shuffled order; None: a Poisson batch, or
        all records if ``sample_rate`` is 1.
    """

    steps: int
    sample_rate: float
    batch_size: int | None = None

    @classmethod
    def of(cls, training: TrainingConfig, *, declared_size: int) -> StepPlan:
        """Returns the plan that the configuration means for a client of this declared size."""
        if training.batch_size is not None:
            rate = min(1.0, training.batch_size / declared_size)
        else:
            rate = training.sample_rate or 1.0
        per_epoch = math.ceil(1 / rate - 1e-9)
        steps = training.local_steps or per_epoch * (training.epochs or 1)
        return cls(steps=steps, sample_rate=rate, batch_size=training.batch_size)

    def batches(self, records: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
        """Yields the record indices of each step of one round, without privacy.

        Records are dealt in shuffled order, reshuffled after each pass; or drawn by Poisson
        sampling if the plan has a sample rate and no batch size.
        """
        if self.batch_size is None:
            yield from self._poisson(records, rng)
        else:
            yield from self._dealt(records, self.batch_size, rng)

    def _poisson(self, records: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
        everything = np.arange(records)
        for _ in range(self.steps):
            yield (
                everything
                if self.sample_rate >= 1
                else np.flatnonzero(rng.random(records) < self.sample_rate)
            )

    def _dealt(self, records: int, size: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
        order, start = rng.permutation(records), 0
        for _ in range(self.steps):
            if start >= records:
                order, start = rng.permutation(records), 0
            yield order[start : start + size]
            start += size


class Deferred(Dataset[tuple[Tensor, ...]]):
    """Records that are made for each use and not kept: those of a client of a very large population.

    Args:
      client: the client's id, for errors.
      make: makes the data set; the same one each time.
      records: number of records in it.
    """

    def __init__(self, client: str, make: Callable[[], RecordSet], records: int) -> None:
        self._client = client
        self._make = make
        self._records = records

    def __len__(self) -> int:
        return self._records

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return self.load()[index]

    @timed("data")
    def load(self) -> RecordSet:
        """Returns the data set; raises DataError if its size is not the one that was announced."""
        made = self._make()
        size = size_of(made, client=self._client)
        if size != self._records:
            raise DataError(f"client {self._client!r} has {size} records; {self._records} were announced")
        return made


def size_of(dataset: Dataset[tuple[Tensor, ...]], *, client: str) -> int:
    """Returns the number of records of a map-style data set; raises DataError if it has none."""
    try:
        records = len(dataset)  # type: ignore[arg-type]  # torch types no __len__; map-style sets have one
    except TypeError:
        raise DataError(f"client {client!r}: the data set has no length; use a map-style Dataset") from None
    if records == 0:
        raise DataError(f"client {client!r} has no records; leave it out or give it at least one")
    return records


@timed("data")
def fetch(
    dataset: Dataset[tuple[Tensor, ...]], indices: NDArray[np.int64], device: torch.device = CPU
) -> tuple[Tensor, Tensor]:
    """Returns inputs (b, …) and targets (b, …) of the records at the indices, b ≥ 1, on the device."""
    if isinstance(dataset, TensorDataset):
        inputs, targets = dataset.tensors
        chosen = torch.from_numpy(indices).to(inputs.device)
        inputs, targets = inputs.index_select(0, chosen), targets.index_select(0, chosen)
    else:
        inputs, targets = default_collate([dataset[int(index)] for index in indices])
    return inputs.to(device), targets.to(device)


def fetched(
    dataset: RecordSet, batches: Iterable[NDArray[np.int64]], device: torch.device = CPU
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields inputs (b, …) and targets (b, …) of each batch, b ≥ 0, on the device.

    Records that are held in tensors are fetched for several batches at once: a look-up costs about as much
    for sixty small records as for ten.
    """
    ahead = _AHEAD // max(1, dataset.tensors[0][0].numel()) if isinstance(dataset, TensorDataset) else 0
    for group in _grouped(batches, ahead):
        sizes = [len(indices) for indices in group]
        if not sum(sizes):
            yield from ((torch.empty(0), torch.empty(0)) for _ in group)
            continue
        inputs, targets = fetch(dataset, np.concatenate(group), device)
        yield from zip(torch.split(inputs, sizes), torch.split(targets, sizes), strict=True)


def _grouped(batches: Iterable[NDArray[np.int64]], records: int) -> Iterator[list[NDArray[np.int64]]]:
    """Yields the batches in groups of no more records than these, but at least one batch each."""
    group: list[NDArray[np.int64]] = []
    room = records
    for indices in batches:
        if group and len(indices) > room:
            yield group
            group, room = [], records
        group.append(indices)
        room -= len(indices)
    if group:
        yield group


@timed("data")
def placed(dataset: RecordSet, device: torch.device) -> RecordSet:
    """Returns the records on a device; those that are not held in tensors stay, and travel in each step."""
    if device == CPU or not isinstance(dataset, TensorDataset):
        return dataset
    return TensorDataset(*(tensor.to(device) for tensor in dataset.tensors))
