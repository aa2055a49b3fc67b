"""Records as their own targets: what an autoencoder learns from, labels or not."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, TensorDataset

from fedlearn.training.batches import RecordSet


class Reconstruction(Dataset[tuple[Tensor, ...]]):
    """(inputs, flattened inputs) of every record of some data sets; their own targets are left out.

    Args:
      parts: data sets of (inputs, target).
    """

    def __init__(self, parts: Sequence[RecordSet]) -> None:
        self._records: ConcatDataset[tuple[Tensor, ...]] = ConcatDataset(parts)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        inputs = torch.as_tensor(self._records[index][0])
        return inputs, inputs.flatten()


def reconstruction_of(parts: Sequence[RecordSet]) -> RecordSet:
    """Returns the records of all parts as their own targets; in memory, if the parts are."""
    held = [part.tensors[0] for part in parts if isinstance(part, TensorDataset)]
    if len(held) < len(parts):
        return Reconstruction(parts)
    inputs = torch.cat(held)
    return TensorDataset(inputs, inputs.flatten(1))
