"""What is wrong with a client's records, found before a round is spent on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlearn.data.records import Records
from fedlearn.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that training survives, and that whoever runs it should know.

    Attributes:
      client: whose records it is about.
      message: what was found, with its number, and what it leads to.
    """

    client: str
    message: str

    def __str__(self) -> str:
        return f"client {self.client!r}: {self.message}"


def check_targets(targets: NDArray[np.int64], *, classes: int, client: str) -> None:
    """Raises DataError if a target is no class; names the first, how many there are and the bound.

    >>> check_targets(np.array([0, 1, 2]), classes=2, client="hospital-3")
    Traceback (most recent call last):
        ...
    fedlearn.errors.DataError: client 'hospital-3': target 2 of record 2 (1 of 3 records) is not in [0, 1]; \
number the classes from 0
    """
    wrong = np.flatnonzero((targets < 0) | (targets >= classes))
    if len(wrong):
        raise DataError(
            f"client {client!r}: target {targets[wrong[0]]} of record {wrong[0]}"
            f" ({len(wrong)} of {len(targets)} records) is not in [0, {classes - 1}];"
            " number the classes from 0"
        )


def check_finite(inputs: NDArray[Any], *, client: str) -> None:
    """Raises DataError if a record has a value that is NaN or infinite; says how many records do."""
    broken = ~np.isfinite(inputs).reshape(len(inputs), -1).all(axis=1)
    if broken.any():
        raise DataError(
            f"client {client!r}: {broken.sum()} of {len(inputs)} records have values that are NaN or"
            f" infinite, the first is record {broken.argmax()}; impute or drop them"
        )


def check_records(
    records: Records,
    *,
    client: str,
    classes: int,
    batch_size: int | None = None,
    strict: bool = False,
) -> tuple[Finding, ...]:
    """Checks one client's training records.

    Args:
      records: of the client.
      client: its id, for the messages.
      classes: number of classes of the task.
      batch_size: records per step, if training uses batches of a fixed size.
      strict: whether what training survives is an error as well.

    Returns:
      What training survives: a single class, or fewer records than a batch.

    Raises:
      DataError: no record, a target out of range, a value that is not finite; with ``strict``,
        also the first finding.
    """
    if len(records) == 0:
        raise DataError(f"client {client!r}: 0 records, at least 1 is needed to train")
    check_targets(records.targets, classes=classes, client=client)
    check_finite(records.inputs, client=client)
    found = _findings(records, client=client, batch_size=batch_size)
    if strict and found:
        raise DataError(f"{found[0]}; leave the client out or divide the records otherwise")
    return found


def _findings(records: Records, *, client: str, batch_size: int | None) -> tuple[Finding, ...]:
    messages = []
    held = np.unique(records.targets)
    if len(held) == 1:
        messages.append(f"all {len(records)} records have target {held[0]}: its update pulls to that class")
    if batch_size is not None and len(records) < batch_size:
        messages.append(f"{len(records)} records are fewer than batch_size={batch_size}: one smaller batch")
    return tuple(Finding(client=client, message=message) for message in messages)
