"""A session of secure aggregation, counted: what a client and the server do, and what they send.

Every count follows from the protocol (:mod:`fedlearn.secagg`): n clients, k neighbours, threshold t,
d coordinates of b bytes, and some clients that are lost before their masked input.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from fedlearn.secagg.graph import fewest_neighbours
from fedlearn.secagg.messages import (
    Advert,
    Agreement,
    Configuration,
    Dealing,
    InputsRequest,
    MaskedInput,
    Package,
    Revelation,
    SealedShares,
    encode,
)
from fedlearn.secagg.parameters import COMPLETE_UP_TO
from tests.bench.scale.rates import Rates

_NAME = "client-0000"
_HASH, _SIGNATURE, _SHARE = bytes(32), bytes(64), bytes(33)
_SEALED = SealedShares(bytes(66 + 16), _HASH, _HASH)
_ADVERT = Advert(_NAME, _HASH, _HASH, _HASH, _SIGNATURE)
_AGREEMENT = Agreement(_NAME, _SIGNATURE)
_HEADER = MaskedInput(_NAME, _HASH, _HASH, _HASH, _HASH, _SIGNATURE)
_AGREED = Configuration(1000, 100, 900, 202, 138, 551, 32, 225_034, _HASH)
_NO_DEALING = Dealing(_HASH, _HASH, (), _SIGNATURE)
_NO_INPUTS = InputsRequest(_HASH, _AGREED, (), ())


@dataclass(frozen=True, kw_only=True)
class Session:
    """One session.

    Attributes:
      clients: n.
      neighbours: k.
      threshold: t.
      dimension: d.
      ring_bytes: b.
      lost: clients that vanish before their masked input.
    """

    clients: int
    neighbours: int
    threshold: int
    dimension: int
    ring_bytes: int
    lost: int

    @classmethod
    def of(
        cls, clients: int, *, colluders: int, dropout: float, dimension: int, ring_bytes: int, lost: int
    ) -> Session:
        """The session of a cohort with the graph that the rules ask for.

        Above the exact search's reach the graph is the least that no set of dropouts can cut, k > c + δn, and
        its neighbourhoods hold their share of colluders and twelve standard deviations more.
        """
        dropouts = int(dropout * clients)
        if clients <= COMPLETE_UP_TO:
            k, t = clients - 1, (clients - 1 + colluders) // 2 + 1
        elif clients <= 10_000:
            k, t = fewest_neighbours(clients, colluders, dropouts)
        else:
            k = colluders + dropouts + 2
            share = colluders / clients
            colluding = math.ceil(share * k + 12 * math.sqrt(share * (1 - share) * k))
            t = (k + colluding) // 2 + 1
        return cls(
            clients=clients,
            neighbours=k,
            threshold=t,
            dimension=dimension,
            ring_bytes=ring_bytes,
            lost=lost,
        )

    @property
    def vector(self) -> int:
        """Bytes of a masked vector."""
        return self.dimension * self.ring_bytes

    @property
    def survivors(self) -> int:
        """Clients in the sum."""
        return self.clients - self.lost


def client_seconds(session: Session, rates: Rates) -> Mapping[str, float]:
    """CPU seconds of a client that survives, by what they go to; training and encoding are not among them."""
    n, k, t, s = session.clients, session.neighbours, session.threshold, session.survivors
    up, down = client_bytes(session)
    path = (k - 1).bit_length()
    return {
        "messages": (up - session.vector) * rates.encode_byte + down * rates.decode_byte,
        # Sessions of all adverts; digests of U1 once and of U2 twice; order and membership of each list.
        "lists": n * (5 * rates.part + rates.fresh) + (n + 2 * s) * rates.name + 6 * n * rates.member,
        "keys and signatures": 2 * rates.keygen
        + 5 * rates.sign
        + (n + 2 * k + s) * (rates.verify + rates.frame),
        "graph": n * k * rates.place,
        "shares": 2 * (k + 1) * t * rates.term + (4 * k + 1) * rates.hash + k * rates.part,
        "share lists": 2 * k * rates.leaf + (2 * k + k * (path + 1)) * rates.node,
        "boxes": k * (rates.agree + rates.derive + rates.seal + rates.unseal + 2 * rates.frame),
        "masks": k * (rates.agree + rates.frame)
        + rates.derive
        + (k + 1) * (rates.mask + session.vector * rates.mask_byte)
        + session.vector * rates.digest_byte,
    }


def server_seconds(session: Session, rates: Rates) -> Mapping[str, float]:
    """CPU seconds of the server, by what they go to."""
    n, k, t, s = session.clients, session.neighbours, session.threshold, session.survivors
    up, _ = client_bytes(session)
    same, _ = request_bytes(session)
    pairs = session.lost * k * s / n  # of a lost client and a survivor
    return {
        # What all are sent alike is encoded once.
        "messages": (2 * n + 3 * s) * rates.message
        + n * (up - session.vector) * rates.decode_byte
        + same * rates.encode_byte
        + n * k * rates.forwarded,
        # Each new advert is compared with all before it.
        "adverts": n * (n + 1) / 2 * rates.fresh + 2 * n * rates.agree + n * (5 * rates.part + rates.fresh),
        "signatures": (3 * n + 3 * s) * (rates.verify + rates.frame) + s * (k + 1) * rates.part,
        "digests of lists": (n + s) * rates.name,
        # Neighbours among U1 or U2 of dealers, of requests, of holders; who sent an answer, five times.
        "membership": (2 * n * n + s * s + s * n) * rates.member
        + (2 * n + 3 * s) * n / 2 * rates.scan
        + 6 * n * k * rates.member,
        "graph": n * k * rates.place,
        "share lists": n * k * rates.dealt,
        "sum": s * session.vector * (rates.ring_byte + rates.digest_byte),
        "check shares": s * (k + 1) * rates.revealed,
        "rebuild secrets": n * (rates.secret + t * rates.weight + t * t * rates.pair),
        "unmask": (s + pairs) * (rates.mask + session.vector * rates.mask_byte)
        + s * (rates.derive + rates.hash)
        + session.lost * rates.keygen
        + pairs * (rates.agree + rates.frame),
    }


def request_bytes(session: Session) -> tuple[int, int]:
    """Bytes of the requests that all clients get alike, and of those that each gets for itself."""
    n, k, s = session.clients, session.neighbours, session.survivors
    alike = n * len(encode(_ADVERT)) + s * len(encode(_AGREEMENT))
    own = (
        len(encode(_NO_INPUTS)) + (n + s) * (len(_NAME) + 1) + k * (_package_bytes(k) + len(encode(_HEADER)))
    )
    return alike, own


def client_bytes(session: Session) -> tuple[int, int]:
    """Bytes that a surviving client sends and is sent in the session, without the model on its way down."""
    k = session.neighbours
    dealing = len(encode(Dealing(_HASH, _HASH, (_SEALED,), _SIGNATURE))) - len(encode(_NO_DEALING))
    up = (
        len(encode(_ADVERT))
        + len(encode(_NO_DEALING))
        + k * dealing
        + len(encode(_HEADER))
        + len(encode(_AGREEMENT))
        + len(encode(Revelation((_SHARE,) * (k + 1), _SIGNATURE)))
        + session.vector
    )
    return up, sum(request_bytes(session))


def _package_bytes(neighbours: int) -> int:
    """Bytes of one package in a request, with a proof over so many entries."""
    package = Package(_NAME, _HASH, _HASH, _SEALED, (_HASH,) * (neighbours - 1).bit_length(), _SIGNATURE)
    return len(encode(InputsRequest(_HASH, _AGREED, (), (package,)))) - len(encode(_NO_INPUTS))
