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
from itertools import chain, islice
from typing import Final

import numpy as np

from fedlearn._types import RingVector
from fedlearn.crypto.agreement import AgreementKey, derive_key
from fedlearn.crypto.prg import CHUNK_BYTES, Keystream
from fedlearn.secagg.cohort import Cohort
from fedlearn.secagg.transcript import View, self_mask_info

_BATCH: Final = 64
"""Ciphers that are alive at a time: each takes more than a kilobyte, and a server has thousands."""


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

    One chunk of the vector stays in cache while a batch of masks passes over it; memory beyond the
    vector is one chunk and a batch of ciphers, some 220 KiB, whatever the number of masks.
    """
    step = CHUNK_BYTES // vector.itemsize
    mask: RingVector = np.empty(min(step, vector.size), vector.dtype)
    masks = chain(((np.add, seed) for seed in plus), ((np.subtract, seed) for seed in minus))
    while batch := [(operation, Keystream(seed)) for operation, seed in islice(masks, _BATCH)]:
        for start in range(0, vector.size, step):
            chunk = vector[start : start + step]
            piece = mask[: chunk.size]
            raw = piece.view(np.uint8).data
            for operation, stream in batch:
                stream.expand_into(raw)
                operation(chunk, piece, chunk)
