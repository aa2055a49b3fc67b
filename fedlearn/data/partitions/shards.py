"""A few shards of the records sorted by label (McMahan et al. 2017, section 3)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedlearn.data.partitions.bounds import check_enough


def shards(
    labels: NDArray[np.int64],
    clients: int,
    *,
    rng: np.random.Generator,
    per_client: int = 2,
) -> list[NDArray[np.int64]]:
    """Returns ``per_client`` random shards for each client: so that most hold that many classes.

    Args:
      labels: shape (n,), int64.
      clients: number of clients.
      rng: draws the order within a class and who gets which shard.
      per_client: shards per client, at least 1.

    Raises:
      ConfigError: an argument out of range.
      DataError: fewer records than shards.
    """
    check_enough(len(labels), clients, each=per_client, kind="shards")
    by_label = np.lexsort((rng.random(len(labels)), labels))
    pieces = np.array_split(by_label, clients * per_client)
    dealt = rng.permutation(len(pieces)).reshape(clients, per_client)
    return [np.sort(np.concatenate([pieces[piece] for piece in hand])) for hand in dealt]
