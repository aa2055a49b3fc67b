"""A model used on records."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any, TextIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedlearn.results.reading import FileRecords
from fedlearn.training.evaluate import CHUNK


@torch.no_grad()
def outputs_of(model: nn.Module, inputs: NDArray[Any]) -> NDArray[np.float32]:
    """Returns the model's outputs (n, …) for records (n, …), a bounded number at a time."""
    starts = range(0, max(len(inputs), 1), CHUNK)
    return np.concatenate([model(torch.from_numpy(inputs[at : at + CHUNK])).numpy() for at in starts])


def write_predictions(
    records: FileRecords, outputs: NDArray[np.float32], target: TextIO, *, classifier: bool = True
) -> None:
    """Writes one CSV line per record: its id if it has one, the most probable class, every probability.

    Args:
      records: what was asked.
      outputs: probabilities (n, classes); of a model that is no classifier its outputs, flattened.
      target: where to.
      classifier: whether there is a class to name.
    """
    writer = csv.writer(target, lineterminator="\n")
    flat = outputs.reshape(len(outputs), -1)
    heads = [*(["id"] if records.ids is not None else []), *(["class"] if classifier else [])]
    writer.writerow([*heads, *(f"{'p' if classifier else 'y'}{column}" for column in range(flat.shape[1]))])
    writer.writerows(_lines(records, flat, classifier))


def _lines(records: FileRecords, outputs: NDArray[np.float32], classifier: bool) -> Iterator[list[object]]:
    for number, row in enumerate(outputs):
        head: list[object] = [] if records.ids is None else [records.ids[number]]
        head += [int(row.argmax())] if classifier else []
        yield [*head, *(f"{value:.6g}" for value in row)]
