"""The rates of this machine: CPU seconds of each thing that a round does often."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fedlearn.aggregators.weighted_mean import WeightedSum
from fedlearn.crypto.aead import open_sealed, seal
from fedlearn.crypto.agreement import AgreementKey
from fedlearn.crypto.identity import SigningKey, verify
from fedlearn.crypto.shamir import combine, split
from fedlearn.secagg.graph import neighbourhoods
from fedlearn.secagg.masking import add_masks
from fedlearn.secagg.messages import Dealing, SealedShares, decode_reply, encode
from fedlearn.secagg.ring import add_in_ring
from fedlearn.secagg.transcript import members_digest, share_hash
from tests.secagg.secagg_session import names_of

_VECTOR = 225_034
_REPEATS = 5


@dataclass(frozen=True, kw_only=True)
class Rates:
    """CPU seconds, medians of a few repeats.

    Attributes:
      keygen: a pair of keys for agreement.
      agree: one agreement, and the key derived from it.
      sign: one signature.
      verify: one check of a signature.
      seal: one box of two shares.
      unseal: opening it.
      hash: one hash of a share, with its framing.
      term: one coefficient of one share when a secret is split.
      pair: one pair of shares when a secret is rebuilt: it takes t² / 2 of them.
      place: one entry of the graph.
      name: one name in the digest of a list of clients.
      codec_byte: one byte of a message, decoded and encoded again to see that it is canonical.
      mask_byte: one byte of one mask, expanded and added.
      ring_byte: one byte of a vector, added in the ring.
      clear_coordinate: one coordinate of an update, added in the clear.
    """

    keygen: float
    agree: float
    sign: float
    verify: float
    seal: float
    unseal: float
    hash: float
    term: float
    pair: float
    place: float
    name: float
    codec_byte: float
    mask_byte: float
    ring_byte: float
    clear_coordinate: float


def measured() -> Rates:
    """Measures them all; about five seconds."""
    key, other, signer, message = (
        AgreementKey.generate(),
        AgreementKey.generate(),
        SigningKey.generate(),
        bytes(200),
    )
    signature, secret = signer.sign(message), os.urandom(32)
    box = seal(secret, bytes(66), context=message)
    points, threshold = list(range(1, 204)), 138
    shares = split(int.from_bytes(secret, "big") >> 1, threshold=threshold, points=points)
    chosen = dict(list(shares.items())[:threshold])
    names, seeds = names_of(1000), [os.urandom(32) for _ in range(16)]
    ring, update = np.ones(_VECTOR, np.uint32), np.ones(_VECTOR, np.float32)
    total = WeightedSum()
    sealed = (SealedShares(box, bytes(32), bytes(32)),) * 202
    dealing = encode(Dealing(bytes(32), bytes(32), sealed, bytes(64)))

    def hash_one() -> None:
        share_hash(bytes(32), dealer="client-0001", holder="client-0002", kind="seed", share=bytes(33))

    def split_one() -> None:
        split(int.from_bytes(secret, "big") >> 1, threshold=threshold, points=points)

    return Rates(
        keygen=_each(AgreementKey.generate),
        agree=_each(lambda: key.derive(other.public, info=message)),
        sign=_each(lambda: signer.sign(message)),
        verify=_each(lambda: verify(signer.public, signature, message)),
        seal=_each(lambda: seal(secret, bytes(66), context=message)),
        unseal=_each(lambda: open_sealed(secret, box, context=message)),
        hash=_each(hash_one),
        term=_each(split_one, times=3) / (len(points) * threshold),
        pair=_each(lambda: combine(chosen), times=3) / (threshold**2 / 2),
        place=_each(lambda: neighbourhoods(names, neighbours=202, session=bytes(32)), times=1) / (1000 * 202),
        name=_each(lambda: members_digest(bytes(32), name="U1", members=names), times=5) / len(names),
        codec_byte=_each(lambda: decode_reply(dealing), times=20) / len(dealing),
        mask_byte=_each(lambda: add_masks(ring, plus=seeds), times=1) / (len(seeds) * ring.nbytes),
        ring_byte=_each(lambda: add_in_ring(ring, ring), times=20) / ring.nbytes,
        clear_coordinate=_each(lambda: total.add(update), times=20) / _VECTOR,
    )


def _each(task: Callable[[], object], *, times: int = 100) -> float:
    """The median over a few repeats of the seconds of one."""
    taken = []
    for _ in range(_REPEATS):
        started = time.thread_time()
        for _ in range(times):
            task()
        taken.append((time.thread_time() - started) / times)
    return statistics.median(taken)
