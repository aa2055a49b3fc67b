"""Who holds which records: runs a partitioner and gives its clients their names."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlearn.data import PARTITIONERS
from fedlearn.data.partitions.bounds import check_no_empty
from fedlearn.data.records import Records
from fedlearn.errors import DataError


def client_names(clients: int) -> list[str]:
    """Returns ``client-0`` …, padded so that sorting by name is sorting by number.

    >>> client_names(11)[:3]
    ['client-00', 'client-01', 'client-02']
    """
    width = len(str(clients - 1))
    return [f"client-{number:0{width}d}" for number in range(clients)]


def partition(
    records: Records,
    *,
    kind: str,
    clients: int | None,
    rng: np.random.Generator,
    arguments: Mapping[str, Any],
) -> dict[str, NDArray[np.int64]]:
    """Returns client name → indices of its records: disjoint, and together all records.

    Names are ``client-0`` …; where every client has exactly one owner's records, its name is the owner's.

    Args:
      records: to be divided; hold out the test part first.
      kind: registered word or import path of a partitioner.
      clients: number of clients; None leaves it to the partitioner (one per owner).
      rng: draws the partition.
      arguments: the partitioner's own.

    Raises:
      ConfigError: an unknown partitioner or argument.
      DataError: too few records, a client without any, or no owners where they are needed.
    """
    part = PARTITIONERS.resolve(kind)
    given: dict[str, Any] = {"labels": records.targets, "clients": clients, "rng": rng}
    if "owners" in inspect.signature(part).parameters:
        if records.owners is None:
            raise DataError(f"partition {kind!r} needs records with owners; this data set names none")
        given["owners"] = records.owners
    elif clients is None:
        raise DataError(f"partition {kind!r} needs the number of clients: partition = {{ clients = … }}")
    parts: list[NDArray[np.int64]] = PARTITIONERS.build(kind, arguments, **given)
    check_no_empty(parts, kind=kind)
    return dict(zip(_names(parts, given.get("owners")), parts, strict=True))


def _names(parts: list[NDArray[np.int64]], owners: NDArray[np.str_] | None) -> list[str]:
    if owners is not None:
        held = [np.unique(owners[part]) for part in parts]
        names = [str(names[0]) for names in held if len(names) == 1]
        if len(set(names)) == len(parts):
            return names
    return client_names(len(parts))
