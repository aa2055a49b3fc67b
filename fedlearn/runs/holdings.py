"""``holdings.json``: who holds what, in a simulation.

Guarantee: none. The counts are exact and without noise, which only a simulation, that holds all records
anyway, may write; at sites nothing of the kind leaves a client, and no such file is made.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch.utils.data import TensorDataset

from fedlearn.experiment.population import ClientData, Population
from fedlearn.runs.optional_part import optional_part
from fedlearn.training.batches import RecordSet

HOLDINGS_FILE = "holdings.json"
MOST_CLIENTS = 200
"""Clients that are counted; of more the first."""


class Holding(BaseModel):
    """What one client holds."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    client: str
    train: int = Field(ge=0, description="number of training records")
    test: int = Field(ge=0, description="number of held-out records")
    labels: dict[str, int] | None = Field(
        default=None, description="class → training records; None where targets are no classes in memory"
    )


class Holdings(BaseModel):
    """What the clients hold: all of them, or the first of many."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    clients: list[Holding]
    of: int = Field(ge=0, description="number of clients in the population")

    @classmethod
    def load(cls, directory: Path) -> Holdings | None:
        """Returns the holdings of a run; None if it wrote none.

        Raises:
          RunDirectoryError: the file is there and is not one.
        """
        return optional_part(cls, directory / HOLDINGS_FILE)


def holdings_of(population: Population) -> Holdings:
    """Returns what the clients of a simulation hold."""
    names = islice(population.names, MOST_CLIENTS)
    return Holdings(
        clients=[_holding(name, population.clients[name]) for name in names], of=len(population.clients)
    )


def _holding(name: str, data: ClientData) -> Holding:
    test = 0 if data.test is None else len(data.test)  # type: ignore[arg-type]  # torch types no __len__
    return Holding(client=name, train=data.size, test=test, labels=_labels(data.train))


def _labels(records: RecordSet) -> dict[str, int] | None:
    if not isinstance(records, TensorDataset):
        return None
    targets = records.tensors[1]
    if targets.dim() != 1 or targets.dtype != torch.int64:
        return None
    return {str(label): count for label, count in sorted(Counter(targets.tolist()).items())}
