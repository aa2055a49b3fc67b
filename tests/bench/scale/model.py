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
    n, k, t = session.clients, session.neighbours, session.threshold
    up, down = client_bytes(session)
    path = (k - 1).bit_length()
    return {
        "messages": (up - session.vector + down) * rates.codec_byte + 4 * n * rates.name,
        "keys and signatures": 2 * rates.keygen
        + 5 * rates.sign
        + (n + 2 * k + session.survivors) * rates.verify,
        "graph": n * k * rates.place,
        "shares": 2 * (k + 1) * t * rates.term + k * (4 + 3 + path) * rates.hash,
        "boxes": k * (2 * rates.agree + rates.seal + rates.unseal),
        "masks": k * rates.agree + (k + 1) * session.vector * rates.mask_byte,
    }


def server_seconds(session: Session, rates: Rates) -> Mapping[str, float]:
    """CPU seconds of the server, by what they go to."""
    n, k, t = session.clients, session.neighbours, session.threshold
    up, down = client_bytes(session)
    masks = session.survivors + session.lost * k * session.survivors / n
    return {
        "messages": n * ((up - session.vector + down) * rates.codec_byte + 5 * n * rates.name),
        "signatures": (3 * n + 3 * session.survivors) * rates.verify,
        "graph": n * k * rates.place,
        "share lists": 5 * n * k * rates.hash,
        "sum": session.survivors * session.vector * rates.ring_byte,
        "check shares": session.survivors * (k + 1) * rates.hash,
        "rebuild secrets": n * (t**2 / 2) * rates.pair,
        "unmask": masks * session.vector * rates.mask_byte + session.lost * k * rates.agree,
    }


def client_bytes(session: Session) -> tuple[int, int]:
    """Bytes that a surviving client sends and is sent in the session, without the model on its way down."""
    n, k = session.clients, session.neighbours
    path = (k - 1).bit_length()
    package = len(encode(InputsRequest(_HASH, _AGREED, (), (_package(path),)))) - len(encode(_NO_INPUTS))
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
    down = (
        n * len(encode(_ADVERT))
        + (n + session.survivors) * (len(_NAME) + 1)
        + k * (package + len(encode(_HEADER)))
        + len(encode(_NO_INPUTS))
        + session.survivors * len(encode(_AGREEMENT))
    )
    return up, down


def _package(path: int) -> Package:
    return Package(_NAME, _HASH, _HASH, _SEALED, (_HASH,) * path, _SIGNATURE)
