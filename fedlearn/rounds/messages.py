"""The messages of a round, without their vectors: strict, versioned, size-limited.

A request names its run and round; its reply repeats both, so that a late or replayed reply is
recognised. The payload of a secure-aggregation step is opaque here: :mod:`fedlearn.secagg` decodes it.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias, TypeVar

import msgspec

from fedlearn.errors import MalformedMessage

WIRE_VERSION = 1
MAX_BODY_BYTES = 64 * 2**20

Identifier = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Round = Annotated[int, msgspec.Meta(ge=0, le=2**31)]
Payload = Annotated[bytes, msgspec.Meta(max_length=MAX_BODY_BYTES)]

SignedBody = tuple[
    Annotated[bytes, msgspec.Meta(max_length=2**20)],
    Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)],
]
"""A receipt and its Ed25519 signature (:mod:`fedlearn.privacy.receipt`)."""


class _RoundMessage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    run: Identifier
    round: Round
    version: Annotated[int, msgspec.Meta(ge=1, le=255)] = WIRE_VERSION


class TrainRequest(_RoundMessage, frozen=True, kw_only=True, tag="train"):
    """Train on the vector beside it and send the update."""


class TrainReply(_RoundMessage, frozen=True, kw_only=True, tag="trained"):
    """The update lies beside it: float32, or ring elements in ``ideal`` mode."""


class SecureRequest(_RoundMessage, frozen=True, kw_only=True, tag="secure"):
    """One step of a secure-aggregation session.

    Attributes:
      payload: the request of this round's session.
      ahead: a request of the next round's session, which is prepared meanwhile; empty if there is none.
    """

    payload: Payload
    ahead: Payload = b""


class SecureTrainRequest(SecureRequest, frozen=True, kw_only=True, tag="secure-train"):
    """The masked-input step: train on the vector beside it, then mask."""


class SecureReply(_RoundMessage, frozen=True, kw_only=True, tag="secured"):
    """The answer to a step; a masked vector lies beside it in the masked-input step.

    Attributes:
      payload: the answer to the request of this round's session.
      ahead: the answer to the request of the next round's session; empty if there was none or it failed.
      refusal: class name of the error that the request of the next round's session ended in.
    """

    payload: Payload
    ahead: Payload = b""
    refusal: Annotated[str, msgspec.Meta(max_length=64)] = ""


class ReceiptRequest(_RoundMessage, frozen=True, kw_only=True, tag="receipt"):
    """State what the run has spent; then check the run's statement, and keep what others have stated.

    Attributes:
      statement: the run's privacy statement, as its clients sign it; empty in the first leg.
      receipts: of others.
    """

    statement: Payload = b""
    receipts: Annotated[tuple[SignedBody, ...], msgspec.Meta(max_length=64)] = ()


class ReceiptReply(_RoundMessage, frozen=True, kw_only=True, tag="receipted"):
    """The client's own receipt.

    Attributes:
      receipt: signed.
      witness: signature over statement and receipts of the request; empty if there was neither.
    """

    receipt: SignedBody
    witness: Annotated[bytes, msgspec.Meta(max_length=64)] = b""


class Failure(_RoundMessage, frozen=True, kw_only=True, tag="failure"):
    """The client could not answer.

    Attributes:
      code: class name of the error: coarse, so that it tells nothing of the records.
      detail: the error's line; empty unless client and server are one process of one owner.
    """

    code: Annotated[str, msgspec.Meta(max_length=64)]
    detail: Annotated[str, msgspec.Meta(max_length=4096)] = ""


Request: TypeAlias = TrainRequest | SecureRequest | SecureTrainRequest | ReceiptRequest
Reply: TypeAlias = TrainReply | SecureReply | ReceiptReply | Failure
M = TypeVar("M")

_encoder = msgspec.msgpack.Encoder()
_requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_replies: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


def encode(message: Request | Reply) -> bytes:
    """Returns the message as MessagePack."""
    return _encoder.encode(message)


def decode_request(body: bytes) -> Request:
    """Returns the request; raises MalformedMessage if it is not exactly one, of this version."""
    return _decoded(_requests, body)


def decode_reply(body: bytes) -> Reply:
    """Returns the reply; raises MalformedMessage if it is not exactly one, of this version."""
    return _decoded(_replies, body)


def _decoded(decoder: msgspec.msgpack.Decoder[M], body: bytes) -> M:
    if len(body) > MAX_BODY_BYTES:
        raise MalformedMessage(f"message of {len(body)} bytes; at most {MAX_BODY_BYTES} are read")
    try:
        message = decoder.decode(body)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessage(f"message does not decode: {error}") from None
    version = message.version  # type: ignore[attr-defined]  # every message of both unions has it
    if version != WIRE_VERSION:
        raise MalformedMessage(f"wire version {version}; this side speaks {WIRE_VERSION}")
    return message
