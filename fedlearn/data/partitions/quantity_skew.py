"""Clients of unequal size with the same mix of labels (Li et al. 2022, section 4.2, quantity skew)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedlearn import _validate
from fedlearn.data.partitions.bounds import check_enough
from fedlearn.errors import ConfigError


def quantity_skew(
    labels: NDArray[np.int64],
    clients: int,
    *,
    rng: np.random.Generator,
    ratio: float | None = None,
    alpha: float | None = None,
    min_records: int = 1,
) -> list[NDArray[np.int64]]:
    """Returns shares of unequal size; each holds every class in proportion, to within one record.

    Args:
      labels: shape (n,), int64.
      clients: number of clients.
      rng: draws the sizes if ``alpha`` is given, and who gets which record.
      ratio: size of the largest share over the smallest, ≥ 1, sizes in geometric progression
        from the first client to the last; 4 if neither is given.
      alpha: α > 0: sizes drawn from Dir(α, …, α) instead.
      min_records: least number of records of a client, at least 1; the rest is shared out by size.

    Raises:
      ConfigError: an argument out of range, or both ``ratio`` and ``alpha``.
      DataError: fewer than ``clients · min_records`` records.

    >>> parts = quantity_skew(np.arange(60) % 2, 3, rng=np.random.default_rng(0), ratio=4.0)
    >>> [len(part) for part in parts]
    [34, 17, 9]
    """
    check_enough(len(labels), clients, each=min_records, kind="quantity-skew")
    shares = _shares(clients, rng=rng, ratio=ratio, alpha=alpha)
    sizes = _sizes(len(labels), shares, least=min_records)
    holder = _stratified(labels, sizes, rng=rng)
    return [np.flatnonzero(holder == client) for client in range(clients)]


def _shares(
    clients: int, *, rng: np.random.Generator, ratio: float | None, alpha: float | None
) -> NDArray[np.float64]:
    if alpha is not None:
        if ratio is not None:
            raise ConfigError(f"quantity-skew takes ratio={ratio} or alpha={alpha}, not both")
        _validate.positive(alpha=alpha)
        return rng.dirichlet(np.full(clients, alpha))
    largest = 4.0 if ratio is None else ratio
    if not 1 <= largest < float("inf"):
        raise ConfigError(f"ratio={largest} of largest to smallest share must be at least 1 and finite")
    shares: NDArray[np.float64] = np.geomspace(largest, 1.0, clients)
    shares /= shares.sum()
    return shares


def _sizes(records: int, shares: NDArray[np.float64], *, least: int) -> NDArray[np.int64]:
    """Returns sizes ≥ ``least`` that sum to ``records``: by share, clients below the least lifted to it."""
    lifted = np.zeros(len(shares), dtype=np.bool_)
    # Lifting one client lowers the others, so it is repeated until no more falls below.
    while True:
        free = records - least * lifted.sum()
        targets = np.where(lifted, least, free * shares / max(shares[~lifted].sum(), 1e-300))
        below = ~lifted & (targets < least)
        if not below.any():
            break
        lifted |= below
    sizes = np.floor(targets).astype(np.int64)
    by_remainder = np.argsort(sizes - targets, kind="stable")
    sizes[by_remainder[: records - sizes.sum()]] += 1
    return sizes


def _stratified(
    labels: NDArray[np.int64], sizes: NDArray[np.int64], *, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Returns the client of each record: every client's places are spread evenly over the sorted labels."""
    clients = np.repeat(np.arange(len(sizes)), sizes)
    places = np.concatenate([(np.arange(size) + rng.random()) / size for size in sizes])
    holder = np.empty(len(labels), dtype=np.int64)
    holder[np.lexsort((rng.random(len(labels)), labels))] = clients[np.argsort(places, kind="stable")]
    return holder
