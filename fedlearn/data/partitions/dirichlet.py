"""Label skew from a Dirichlet distribution (Hsu et al. 2019, section 3; Li et al. 2022, section 4.2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedlearn import _validate
from fedlearn.data.partitions.bounds import check_enough
from fedlearn.errors import DataError

DRAWS = 100
"""How often the whole partition is drawn before it is given up."""


def dirichlet(
    labels: NDArray[np.int64],
    clients: int,
    *,
    rng: np.random.Generator,
    alpha: float = 0.5,
    min_records: int = 1,
) -> list[NDArray[np.int64]]:
    """Returns a partition in which each class is spread over the clients by a draw from Dir(α, …, α).

    The whole partition is drawn again until every client has ``min_records``, as is the custom
    (Li et al. 2022); the law is thus Dirichlet given that event.

    Args:
      labels: shape (n,), int64.
      clients: number of clients.
      rng: draws the shares and who gets which record.
      alpha: α > 0; at 0.1 a client holds one or two classes, at 100 nearly all alike.
      min_records: least number of records of a client, at least 1.

    Raises:
      ConfigError: an argument out of range.
      DataError: too few records, or no draw of 100 leaves every client enough; names the client.
    """
    _validate.positive(alpha=alpha)
    check_enough(len(labels), clients, each=min_records, kind="dirichlet")
    for _ in range(DRAWS):
        holder = _draw(labels, clients, rng=rng, alpha=alpha)
        sizes = np.bincount(holder, minlength=clients)
        if sizes.min() >= min_records:
            return [np.flatnonzero(holder == client) for client in range(clients)]
    raise DataError(
        f"dirichlet: with alpha={alpha} client {sizes.argmin()} has {sizes.min()} records, fewer than"
        f" min_records={min_records}, and so in {DRAWS} draws; raise alpha, or lower clients or min_records"
    )


def _draw(
    labels: NDArray[np.int64], clients: int, *, rng: np.random.Generator, alpha: float
) -> NDArray[np.int64]:
    """Returns the client of each record, shape (n,)."""
    holder = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        cuts = np.cumsum(rng.dirichlet(np.full(clients, alpha)))[:-1] * len(members)
        for client, part in enumerate(np.split(members, np.round(cuts).astype(np.int64))):
            holder[part] = client
    return holder
