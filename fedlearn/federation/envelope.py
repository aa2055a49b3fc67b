"""Signed messages between a server and its sites.

Flower authenticates nodes by a signed timestamp and hands over whatever its server sends. What a
site does rests on neither: every message is signed by its author's key in the roster, over addressee,
time, an id of its own, the id it answers, and all of its bytes and vectors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from fedlearn.crypto.entropy import random_bytes
from fedlearn.crypto.framing import frame
from fedlearn.crypto.identity import SIGNATURE_BYTES, SigningKey, verify
from fedlearn.errors import ClockSkew, MalformedMessage, TamperedMessage
from fedlearn.rounds.messages import MAX_BODY_BYTES
from fedlearn.rounds.transport import Message

SKEW_SECONDS = 300.0
"""How far apart the clocks of a server and a site may be: as far as Flower's own check allows."""

ID_BYTES = 16
_LABEL = "fedlearn-federation/1|message"

Kind = Literal["site", "round"]
Id = Annotated[bytes, msgspec.Meta(min_length=ID_BYTES, max_length=ID_BYTES)]


class Envelope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="sealed/1"):
    """What a signature covers, and the signature.

    Attributes:
      kind: "site" for messages about a run, "round" for those inside one.
      site: the site that it goes to or comes from.
      id: random; a site reads each once.
      answers: id of the request; empty in a request.
      sent: when, in milliseconds since 1970.
      payload: the message itself.
    """

    kind: Kind
    site: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    id: Id
    answers: Annotated[bytes, msgspec.Meta(max_length=ID_BYTES)] = b""
    sent: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    payload: Annotated[bytes, msgspec.Meta(max_length=MAX_BODY_BYTES)]
    signature: Annotated[bytes, msgspec.Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A message whose signature verified."""

    kind: Kind
    id: bytes
    answers: bytes
    sent: float
    message: Message


def seal(
    message: Message,
    *,
    kind: Kind,
    key: SigningKey,
    clock: Callable[[], float],
    answers: bytes = b"",
    digest: Callable[[NDArray[Any]], bytes] | None = None,
) -> tuple[Message, bytes]:
    """Returns the message signed, and its id.

    Args:
      message: to or from the site that it names.
      kind: what its body is.
      key: of its author.
      clock: seconds since 1970.
      answers: id of the request, in a reply.
      digest: vector → its SHA-256, e.g. a :class:`LastDigest` for one vector to many sites.
    """
    name, sent = random_bytes(ID_BYTES), int(clock() * 1000)
    signed = _Frame(kind=kind, message=message, id=name, answers=answers, sent=sent, digest=digest or _digest)
    envelope = Envelope(
        kind=kind,
        site=message.client,
        id=name,
        answers=answers,
        sent=sent,
        payload=message.body,
        signature=key.sign(signed.bytes),
    )
    body = msgspec.msgpack.encode(envelope)
    return Message(client=message.client, body=body, vectors=message.vectors), name


def open_envelope(message: Message, *, author: bytes) -> Opened:
    """Returns the message inside, or raises.

    Args:
      message: what arrived.
      author: public key of whoever must have signed it.

    Raises:
      MalformedMessage: it does not decode.
      TamperedMessage: it is not signed by the author, or names another site.
    """
    if len(message.body) > MAX_BODY_BYTES:
        raise MalformedMessage(f"message of {len(message.body)} bytes; at most {MAX_BODY_BYTES} are read")
    try:
        envelope = _decoder.decode(message.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessage(f"message does not decode: {error}") from None
    if envelope.site != message.client:
        raise TamperedMessage(f"message for site {envelope.site!r} was delivered as {message.client!r}")
    inner = Message(client=envelope.site, body=envelope.payload, vectors=message.vectors)
    signed = _Frame(
        kind=envelope.kind,
        message=inner,
        id=envelope.id,
        answers=envelope.answers,
        sent=envelope.sent,
        digest=_digest,
    )
    verify(author, envelope.signature, signed.bytes)
    return Opened(
        kind=envelope.kind,
        id=envelope.id,
        answers=envelope.answers,
        sent=envelope.sent / 1000,
        message=inner,
    )


class LastDigest:
    """SHA-256 of vectors; of the one that it saw last, without reading it again."""

    def __init__(self) -> None:
        self._last: tuple[NDArray[Any], bytes] | None = None

    def __call__(self, vector: NDArray[Any]) -> bytes:
        """Returns the digest, 32 bytes; the vector may not change while it is the last."""
        if self._last is None or self._last[0] is not vector:
            self._last = vector, _digest(vector)
        return self._last[1]


def check_clock(sent: float, *, now: float, skew: float = SKEW_SECONDS) -> None:
    """Raises ClockSkew if a message was sent more than ``skew`` seconds away from now."""
    apart = now - sent
    if abs(apart) > skew:
        direction = "behind" if apart > 0 else "ahead of"
        raise ClockSkew(
            f"clock: the sender's clock is {abs(apart):.0f} s {direction} ours, or the message is old;"
            f" at most {skew:.0f} s are allowed: set both clocks by NTP"
        )


@dataclass(frozen=True, kw_only=True)
class _Frame:
    """Everything that a signature covers."""

    kind: str
    message: Message
    id: bytes
    answers: bytes
    sent: int
    digest: Callable[[NDArray[Any]], bytes]

    @property
    def bytes(self) -> bytes:
        vectors = self.message.vectors
        parts: list[bytes | str | int] = [self.kind, self.message.client, self.id, self.answers, self.sent]
        parts.append(self.message.body)
        for vector in vectors:
            parts += [vector.dtype.str, len(vector), self.digest(vector)]
        return frame(_LABEL, len(vectors), *parts)


def _digest(vector: NDArray[Any]) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(vector).view(np.uint8).data).digest()


_decoder = msgspec.msgpack.Decoder(Envelope)
