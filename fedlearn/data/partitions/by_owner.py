"""The natural partition: records stay with the hospital, person or role they come from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedlearn.data.partitions.bounds import check_enough
from fedlearn.errors import DataError


def by_owner(
    labels: NDArray[np.int64],
    clients: int | None = None,
    *,
    rng: np.random.Generator,
    owners: NDArray[np.str_],
) -> list[NDArray[np.int64]]:
    """Returns one part per owner in the order of their names, or owners dealt at random to fewer clients.

    Args:
      labels: shape (n,), int64; only their number matters.
      clients: number of clients; None for one per owner.
      rng: deals the owners; not used with one client per owner.
      owners: shape (n,), str.

    Raises:
      DataError: more clients than owners, or an owner for another number of records.
    """
    if len(owners) != len(labels):
        raise DataError(f"by-owner: {len(owners)} owners for {len(labels)} records")
    names, number = np.unique(owners, return_inverse=True)
    wanted = len(names) if clients is None else clients
    check_enough(len(names), wanted, each=1, kind="by-owner, owners as records")
    if wanted == len(names):
        return [np.flatnonzero(number == owner) for owner in range(len(names))]
    client_of = np.empty(len(names), dtype=np.int64)
    client_of[rng.permutation(len(names))] = np.arange(len(names)) % wanted
    return [np.flatnonzero(client_of[number] == client) for client in range(wanted)]
