"""The rates of this machine: CPU seconds of each thing that a round does often.

What remembers — keys that have agreed, weights of points seen before — is given new inputs at each call:
a client and a server meet theirs for the first time.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from fedlearn.aggregators.weighted_mean import WeightedSum
from fedlearn.crypto import merkle
from fedlearn.crypto.aead import open_sealed, seal
from fedlearn.crypto.agreement import AgreementKey, derive_key
from fedlearn.crypto.framing import frame
from fedlearn.crypto.identity import SigningKey, verify
from fedlearn.crypto.shamir import combine, split
from fedlearn.secagg.cohort import check_fresh
from fedlearn.secagg.dealing import packages
from fedlearn.secagg.graph import neighbourhoods
from fedlearn.secagg.masking import add_masks
from fedlearn.secagg.messages import (
    Advert,
    Agreement,
    Dealing,
    Reply,
    Revelation,
    SealedShares,
    decode_reply,
    encode,
    expect,
)
from fedlearn.secagg.ring import add_in_ring
from fedlearn.secagg.transcript import members_digest, sealed_leaf, share_hash
from tests.secagg.secagg_session import Federation, names_of

_VECTOR = 225_034
_REPEATS = 5
_TURNS = 60


@dataclass(frozen=True, kw_only=True)
class Rates:
    """CPU seconds, means over a few repeats: a session meets slow moments of the machine, too.

    Attributes:
      keygen: a pair of keys for agreement.
      agree: an agreement with a key not met before, and the first key derived from it.
      derive: a further key derived from an agreement, or from a seed.
      sign: one signature.
      verify: one check of a signature.
      frame: the bytes of eight parts, that something is bound to.
      seal: one box of two shares.
      unseal: opening it.
      hash: one hash of a share, with its framing.
      leaf: one entry of the list that a dealer signs.
      node: one hash in the tree over that list.
      dealt: one entry of a dealing, checked by the server and made a package; signatures not counted.
      forwarded: one package and one header of a client, gathered and encoded for another.
      part: one part of a long list that is framed.
      term: one coefficient of one share when a secret is split.
      secret: a secret rebuilt from shares at points not met before, whatever their number.
      weight: one share of these.
      pair: what each two of these shares add to that.
      revealed: one share that is revealed, compared with its hash and noted.
      place: one entry of the graph.
      name: one name in the digest of a list of clients.
      member: one name in a set of clients.
      scan: one name passed over when a client is looked for in a list.
      fresh: one advert among those that a new one is compared with.
      message: one short message, decoded and encoded again.
      decode_byte: one byte of a message, decoded and encoded again to see that it is canonical.
      encode_byte: one byte of a message, encoded.
      digest_byte: one byte of a vector, hashed.
      mask: one mask begun.
      mask_byte: one byte of one mask, expanded and added.
      ring_byte: one byte of a vector, added in the ring.
      clear_coordinate: one coordinate of an update, added in the clear.
    """

    keygen: float
    agree: float
    derive: float
    sign: float
    verify: float
    frame: float
    seal: float
    unseal: float
    hash: float
    leaf: float
    node: float
    dealt: float
    forwarded: float
    part: float
    term: float
    secret: float
    weight: float
    pair: float
    revealed: float
    place: float
    name: float
    member: float
    scan: float
    fresh: float
    message: float
    decode_byte: float
    encode_byte: float
    digest_byte: float
    mask: float
    mask_byte: float
    ring_byte: float
    clear_coordinate: float


def measured() -> Rates:
    """Measures them all; about five seconds."""
    keys = key_rates()
    return Rates(
        **keys,
        **box_rates(),
        **hash_rates(),
        **list_rates(),
        **vector_rates(),
        **session_rates(keys["verify"]),
    )


def key_rates() -> dict[str, float]:
    """Keys, agreements, signatures, and secrets that are rebuilt.

    They take turns: a session passes from one thing to the next, and each finds the caches full of
    another. In a loop of its own a signature takes a quarter less, and a secret a third.
    """
    chosen, message = random.Random(0), os.urandom(200)  # which points, not what they hide
    own, signer = AgreementKey.generate(), SigningKey.generate()
    peers = iter([AgreementKey.generate().public for _ in range(_TURNS)])
    signed = iter([(key.public, key.sign(message)) for key in (SigningKey.generate() for _ in range(_TURNS))])
    thresholds = (16, 64, 256)
    shares = {
        threshold: iter(
            [dict.fromkeys(chosen.sample(range(1, 1000), threshold), 2**255 + 12345) for _ in range(_TURNS)]
        )
        for threshold in thresholds
    }
    seconds = _in_turns(
        {
            "keygen": AgreementKey.generate,
            "agree": lambda: own.derive(next(peers), info=message),
            "sign": lambda: signer.sign(message),
            "verify": lambda: verify(*next(signed), message),
            **{f"rebuild {t}": lambda t=t: combine(next(shares[t])) for t in thresholds},  # type: ignore[misc]
        }
    )
    # A secret, one share of it, and each two shares.
    rebuilt = [seconds.pop(f"rebuild {threshold}") for threshold in thresholds]
    pair, weight, secret = np.polyfit(thresholds, rebuilt, 2)
    return {**seconds, "secret": float(secret), "weight": float(weight), "pair": float(pair)}


def box_rates() -> dict[str, float]:
    """Derived keys, boxes, and secrets that are split."""
    secret, message = os.urandom(32), os.urandom(200)
    hashes = [os.urandom(32) for _ in range(6)]
    box = seal(secret, bytes(66), context=message)
    points, threshold = list(range(1, 204)), 138

    def split_one() -> None:
        split(int.from_bytes(secret, "big") >> 1, threshold=threshold, points=points)

    return {
        "derive": _each(lambda: derive_key(secret, info=message)),
        "frame": _each(lambda: frame("label", "client-0001", "client-0002", *hashes)),
        "seal": _each(lambda: seal(secret, bytes(66), context=message)),
        "unseal": _each(lambda: open_sealed(secret, box, context=message)),
        "term": _each(split_one, times=3) / (len(points) * threshold),
    }


def hash_rates() -> dict[str, float]:
    """Hashes of shares, lists and trees."""
    sealed = SealedShares(os.urandom(66 + 28), os.urandom(32), os.urandom(32))
    leaves = [os.urandom(32) for _ in range(256)]
    shares = [os.urandom(33) for _ in range(256)]
    tree = _each(lambda: merkle.root(leaves), times=3)

    def hash_one() -> None:
        share_hash(bytes(32), dealer="client-0001", holder="client-0002", kind="seed", share=shares[0])

    return {
        "hash": _each(hash_one),
        "leaf": _each(lambda: sealed_leaf("client-0001", sealed)),
        "node": tree / (2 * len(leaves)),
        "part": _each(lambda: frame("label", *shares)) / len(shares),
    }


def list_rates() -> dict[str, float]:
    """Lists of clients, the graph, and messages."""
    names = names_of(1000)
    adverts = [Advert(n, os.urandom(32), os.urandom(32), os.urandom(32), os.urandom(64)) for n in names]
    sealed = (SealedShares(os.urandom(66 + 28), os.urandom(32), os.urandom(32)),) * 202
    dealing = Dealing(os.urandom(32), os.urandom(32), sealed, os.urandom(64))
    encoded, short = encode(dealing), encode(Agreement(names[0], os.urandom(64)))
    listed, last = tuple(names), "".join(names[-1:])
    return {
        "place": _each(lambda: neighbourhoods(names, neighbours=202, session=bytes(32)), times=1)
        / (1000 * 202),
        "name": _each(lambda: members_digest(bytes(32), name="U1", members=names), times=5) / len(names),
        "member": _each(lambda: frozenset(names), times=20) / len(names),
        "scan": _each(lambda: last in listed, times=20) / len(names),
        "fresh": _each(lambda: check_fresh([*adverts]), times=3) / len(adverts),
        "message": _each(lambda: decode_reply(short)),
        "decode_byte": _each(lambda: decode_reply(encoded), times=20) / len(encoded),
        "encode_byte": _each(lambda: encode(dealing), times=20) / len(encoded),
    }


def vector_rates() -> dict[str, float]:
    """What is done to every coordinate."""
    seeds = [os.urandom(32) for _ in range(16)]
    ring, update = np.ones(_VECTOR, np.uint32), np.ones(_VECTOR, np.float32)
    total = WeightedSum()
    begun = _each(lambda: add_masks(ring[:8], plus=seeds)) / len(seeds)
    whole = _each(lambda: add_masks(ring, plus=seeds), times=1) / len(seeds)
    return {
        "digest_byte": _each(lambda: hashlib.sha256(ring.data), times=3) / ring.nbytes,
        "mask": begun,
        "mask_byte": (whole - begun) / ring.nbytes,
        "ring_byte": _each(lambda: add_in_ring(ring, ring), times=20) / ring.nbytes,
        "clear_coordinate": _each(lambda: total.add(update), times=20) / _VECTOR,
    }


def session_rates(verify_seconds: float) -> dict[str, float]:
    """What the server of a session of forty does with a share: takes it in, passes it on, sees it again."""
    federation = Federation(40, colluders=4)
    server, pairs = federation.server, 40 * 39
    federation.until("share")
    dealings = {name: _reply(federation, name, body) for name, body in server.requests().items()}
    started = time.thread_time()
    for name, dealing in dealings.items():
        packages(server._session(), name, expect(dealing, Dealing))
    dealt = (time.thread_time() - started) / pairs - verify_seconds / 39
    for name, dealing in dealings.items():
        server.receive(name, encode(dealing))
    server.advance()
    forwarded = _requesting(federation) / pairs
    federation.until("agree")
    forwarded += _requesting(federation) / pairs
    federation.until("unmask")
    shares = {n: expect(_reply(federation, n, b), Revelation).shares for n, b in server.requests().items()}
    recovery = server._recovering()
    started = time.thread_time()
    for name, held in shares.items():
        recovery.add(name, held)
    return {"dealt": dealt, "forwarded": forwarded, "revealed": (time.thread_time() - started) / pairs}


def _reply(federation: Federation, name: str, request: bytes) -> Reply:
    return decode_reply(federation.answer(name, request)[0])


def _requesting(federation: Federation) -> float:
    started = time.thread_time()
    federation.server.requests()
    return time.thread_time() - started


def _in_turns(tasks: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """The mean over many turns of the seconds of one call of each."""
    seconds = dict.fromkeys(tasks, 0.0)
    for _ in range(_TURNS):
        for name, task in tasks.items():
            started = time.thread_time()
            task()
            seconds[name] += time.thread_time() - started
    return {name: taken / _TURNS for name, taken in seconds.items()}


def _each(task: Callable[[], object], *, times: int = 100) -> float:
    """The mean over a few repeats of the seconds of one."""
    taken = []
    for _ in range(_REPEATS):
        started = time.thread_time()
        for _ in itertools.repeat(None, times):
            task()
        taken.append((time.thread_time() - started) / times)
    return statistics.fmean(taken)
