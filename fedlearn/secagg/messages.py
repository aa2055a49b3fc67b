"""The messages of a session: MessagePack arrays, strictly typed, versioned by tag, canonical.

A body is decoded only if it is within the size limit, has exactly the fields of its type, and is
the one encoding of what it says. Fields are hostile until :mod:`~fedlearn.secagg.client` or
:mod:`~fedlearn.secagg.server` has checked them. Masked vectors travel beside the body, raw.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias, TypeVar

import msgspec

from fedlearn.crypto.aead import OVERHEAD_BYTES
from fedlearn.crypto.shamir import ELEMENT_BYTES
from fedlearn.errors import MalformedMessage, OutOfOrder

MAX_BODY_BYTES = 16 * 2**20
MAX_CLIENTS = 4096

SHARES_BYTES = 2 * ELEMENT_BYTES
"""What a box holds: a share of the self-mask seed, then one of the mask key."""

Identifier = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Number = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Hash = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
PublicKey = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]
Box = Annotated[
    bytes, msgspec.Meta(min_length=SHARES_BYTES + OVERHEAD_BYTES, max_length=SHARES_BYTES + OVERHEAD_BYTES)
]
Share = Annotated[bytes, msgspec.Meta(min_length=ELEMENT_BYTES, max_length=ELEMENT_BYTES)]
Path = Annotated[tuple[Hash, ...], msgspec.Meta(max_length=12)]
Members = Annotated[tuple[Identifier, ...], msgspec.Meta(max_length=MAX_CLIENTS)]


class _Message(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    pass


class AdvertiseRequest(_Message, frozen=True, tag="sa1.advertise"):
    """R0, to the client: take part in this round, under this roster."""

    roster_digest: Hash
    run: Identifier
    round: Number


class Advert(_Message, frozen=True, tag="sa1.advert"):
    """R0, from the client: its keys of this session, signed with its long-term key."""

    client: Identifier
    mask_public: PublicKey
    share_public: PublicKey
    nonce: Hash
    signature: Signature


class ShareRequest(_Message, frozen=True, tag="sa1.share"):
    """R1, to the client: all adverts, in the order of their ids; they make the session."""

    adverts: Annotated[tuple[Advert, ...], msgspec.Meta(max_length=MAX_CLIENTS)]


class SealedShares(_Message, frozen=True):
    """Two shares for one neighbour, in a box that only it opens, and the hash of each share."""

    box: Box
    seed_share_hash: Hash
    key_share_hash: Hash


class Dealing(_Message, frozen=True, tag="sa1.dealing"):
    """R1, from the client: shares for its neighbours in the order of their ids, under one signature."""

    seed_hash: Hash
    own_share_hash: Hash
    sealed: Annotated[tuple[SealedShares, ...], msgspec.Meta(max_length=MAX_CLIENTS)]
    signature: Signature


class Package(_Message, frozen=True):
    """One neighbour's shares for the receiver, with the proof that the neighbour signed them."""

    dealer: Identifier
    seed_hash: Hash
    own_share_hash: Hash
    sealed: SealedShares
    path: Path
    signature: Signature


class Configuration(_Message, frozen=True):
    """What every client computes for itself and compares.

    Attributes:
      agreed: SHA-256 of the application's configuration (encoding, weights, privacy, …).
    """

    clients: Number
    colluders: Number
    min_survivors: Number
    neighbours: Number
    threshold: Number
    quorum: Number
    modulus_bits: Number
    dimension: Number
    agreed: Hash


class InputsRequest(_Message, frozen=True, tag="sa1.inputs"):
    """R2, to the client: the clients that dealt (U1), and the packages of all its neighbours in it."""

    model_digest: Hash
    configuration: Configuration
    members: Members
    packages: Annotated[tuple[Package, ...], msgspec.Meta(max_length=MAX_CLIENTS)]


class MaskedInput(_Message, frozen=True, tag="sa1.masked"):
    """R2, from the client: the signed header of the masked vector beside it."""

    client: Identifier
    members_digest: Hash
    model_digest: Hash
    configuration_digest: Hash
    vector_digest: Hash
    signature: Signature


class Complaint(_Message, frozen=True, tag="sa1.complaint"):
    """R2, from the client instead of its vector: this dealer's signed shares for me are wrong."""

    dealer: Identifier
    signature: Signature


class AgreeRequest(_Message, frozen=True, tag="sa1.agree"):
    """R3, to the client: the survivors (U2), and the headers of its neighbours among them."""

    survivors: Members
    headers: Annotated[tuple[MaskedInput, ...], msgspec.Meta(max_length=MAX_CLIENTS)]


class Agreement(_Message, frozen=True, tag="sa1.agreement"):
    """R3, from the client: its one signature of the session over what it has seen."""

    client: Identifier
    signature: Signature


class UnmaskRequest(_Message, frozen=True, tag="sa1.unmask"):
    """R4, to the client: at least a quorum of signatures over one view."""

    agreements: Annotated[tuple[Agreement, ...], msgspec.Meta(max_length=MAX_CLIENTS)]


class Revelation(_Message, frozen=True, tag="sa1.revelation"):
    """R4, from the client: one share per neighbour in U1 and itself, in the order of their ids.

    Of a survivor the share of its seed, of a dropout the share of its mask key: never both.
    """

    shares: Annotated[tuple[Share, ...], msgspec.Meta(max_length=MAX_CLIENTS)]
    signature: Signature


Request: TypeAlias = AdvertiseRequest | ShareRequest | InputsRequest | AgreeRequest | UnmaskRequest
Reply: TypeAlias = Advert | Dealing | MaskedInput | Complaint | Agreement | Revelation
M = TypeVar("M")

_encoder = msgspec.msgpack.Encoder()
_requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_replies: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


def encode(message: Request | Reply) -> bytes:
    """Returns the one encoding of the message."""
    return _encoder.encode(message)


def decode_request(body: bytes) -> Request:
    """Returns the request; raises MalformedMessage unless the body is the encoding of exactly one."""
    return _decoded(_requests, body)


def decode_reply(body: bytes) -> Reply:
    """Returns the reply; raises MalformedMessage unless the body is the encoding of exactly one."""
    return _decoded(_replies, body)


def expect(message: Request | Reply, kind: type[M]) -> M:
    """Returns the message if it is of the kind; raises OutOfOrder if it belongs to another step."""
    if not isinstance(message, kind):
        raise OutOfOrder(f"{type(message).__name__} arrived; {kind.__name__} is due at this step")
    return message


def _decoded(decoder: msgspec.msgpack.Decoder[M], body: bytes) -> M:
    if len(body) > MAX_BODY_BYTES:
        raise MalformedMessage(f"message of {len(body)} bytes; at most {MAX_BODY_BYTES} are read")
    try:
        message = decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessage(f"message does not decode: {error}") from None
    # One meaning, one encoding: what was hashed or signed is what was sent.
    if _encoder.encode(message) != body:
        raise MalformedMessage("message is not in its canonical form")
    return message
