"""Equal shares of a random order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedlearn.data.partitions.bounds import check_enough


def iid(labels: NDArray[np.int64], clients: int, *, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Returns one random share per client; sizes differ by at most one.

    Args:
      labels: shape (n,), int64; only their number matters.
      clients: number of clients, in [1, n].
      rng: draws the order.

    Raises:
      DataError: fewer records than clients.

    >>> [len(part) for part in iid(np.zeros(10, np.int64), 3, rng=np.random.default_rng(0))]
    [4, 3, 3]
    """
    check_enough(len(labels), clients, each=1, kind="iid")
    return [np.sort(part) for part in np.array_split(rng.permutation(len(labels)), clients)]
