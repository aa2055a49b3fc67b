"""Masks: a seed becomes a vector of the ring, added or taken away in place.

Between two clients, the one of the lesser id adds the mask and the other takes it away, so that it
vanishes from any sum with both.

>>> vector = np.zeros(3, "<u4")
>>> add_masks(vector, plus=[bytes(32)])
>>> add_masks(vector, minus=[bytes(32)])
>>> vector.tolist()
[0, 0, 0]
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedlearn._types import RingVector
from fedlearn.crypto.agreement import AgreementKey, derive_key
from fedlearn.crypto.prg import CHUNK_BYTES, Keystream
from fedlearn.secagg.cohort import Cohort
from fedlearn.secagg.transcript import View, self_mask_info


@dataclass(kw_only=True)
class MaskSeeds:
    """Seeds of masks to add and to take away, 32 bytes each."""

    plus: list[bytes] = field(default_factory=list, repr=False)
    minus: list[bytes] = field(default_factory=list, repr=False)


def self_mask_seed(session: bytes, client: str, seed: bytes) -> bytes:
    """Returns the seed of a client's self-mask, which it adds."""
    return derive_key(seed, info=self_mask_info(session, client=client))


def pairwise_seeds(
    cohort: Cohort, view: View, client: str, mask_key: AgreementKey, peers: Iterable[str]
) -> MaskSeeds:
    """Returns the seeds that the owner of ``mask_key`` adds and takes away for its peers.

    Raises:
      KeyMisuse: a peer's key is of low order.
    """
    seeds = MaskSeeds()
    for peer in peers:
        first, second = sorted((client, peer))
        info = view.pairwise_info(cohort.adverts[first], cohort.adverts[second])
        seed = mask_key.derive(cohort.adverts[peer].mask_public, info=info)
        (seeds.plus if client == first else seeds.minus).append(seed)
    return seeds


def add_masks(vector: RingVector, *, plus: Iterable[bytes] = (), minus: Iterable[bytes] = ()) -> None:
    """Adds the masks of ``plus`` to a contiguous vector in place and takes those of ``minus`` away.

    One chunk of the vector stays in cache while all masks pass over it; memory beyond the vector
    is one chunk, whatever the number of masks.
    """
    added = [Keystream(seed) for seed in plus]
    taken = [Keystream(seed) for seed in minus]
    step = CHUNK_BYTES // vector.itemsize
    buffer: NDArray[np.unsignedinteger] = np.empty(min(step, vector.size), vector.dtype)
    for start in range(0, vector.size, step):
        chunk = vector[start : start + step]
        mask = buffer[: chunk.size]
        for stream in added:
            stream.fill(mask)
            np.add(chunk, mask, out=chunk)
        for stream in taken:
            stream.fill(mask)
            np.subtract(chunk, mask, out=chunk)
