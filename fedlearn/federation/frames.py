"""Messages between a relay and the process that a client lives in, over a Unix socket or as bytes.

A frame is ``magic (4) | header length (u32, little-endian) | header | body | vectors``. The header
is a MessagePack struct with the sizes of everything that follows; a reader refuses a frame from
its header, before it reads a byte of the rest.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import Annotated, Any, Protocol, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from fedlearn.errors import MalformedMessage
from fedlearn.federation.vectors import MAX_VECTORS, dtype_of, from_bytes, nbytes
from fedlearn.rounds.messages import MAX_BODY_BYTES
from fedlearn.rounds.transport import Lost, Message

MAGIC = b"FLF1"
MAX_HEADER_BYTES = 16 * 2**10

_PREFIX = struct.Struct("<4sI")

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
BodyLength = Annotated[int, msgspec.Meta(ge=0, le=MAX_BODY_BYTES)]
Length = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class MessageHeader(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="message"):
    """Says what follows: a body and vectors.

    Attributes:
      client: the client's id.
      body: number of bytes of the body.
      vectors: dtype and length of each vector.
    """

    client: Name
    body: BodyLength
    vectors: Annotated[tuple[tuple[str, Length], ...], msgspec.Meta(max_length=MAX_VECTORS)] = ()


class LostHeader(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="lost"):
    """Stands for an answer that there is not; nothing follows."""

    client: Name


Header: TypeAlias = MessageHeader | LostHeader

_decoder: msgspec.msgpack.Decoder[Header] = msgspec.msgpack.Decoder(Header)


def send(connection: socket.socket, message: Message | Lost) -> None:
    """Writes one frame; a :class:`Lost` arrives with the reason "failed".

    Raises:
      MalformedMessage: the message is over a limit that the reader would refuse.
      OSError: the other side is gone or too slow.
    """
    for piece in _pieces(message):
        connection.sendall(piece)


def pack(message: Message | Lost) -> bytes:
    """Returns one frame as bytes; raises MalformedMessage for what :func:`unpack` would refuse."""
    return b"".join(_pieces(message))


def unpack(data: bytes) -> Message | Lost:
    """Returns the message of one frame. The vectors are writable.

    Raises:
      MalformedMessage: the bytes are not exactly one frame within the limits.
    """
    source = _Bytes(data)
    try:
        message = receive(source)
    except EOFError as error:
        raise MalformedMessage(f"frame is cut short: {error}") from None
    if source.left:
        raise MalformedMessage(f"{source.left} bytes follow the frame")
    return message


class Source(Protocol):
    """Where bytes are read from: a socket, or what stands in for one."""

    def recv_into(self, buffer: memoryview, /) -> int:
        """Fills the beginning of the buffer; returns with how many bytes, 0 at the end."""
        ...


class _Bytes:
    """Bytes that are there, as a source."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    @property
    def left(self) -> int:
        return len(self._data)

    def recv_into(self, buffer: memoryview) -> int:
        count = min(len(buffer), len(self._data))
        buffer[:count], self._data = self._data[:count], self._data[count:]
        return count


def receive(connection: Source, *, max_bytes: int | None = None) -> Message | Lost:
    """Reads one frame. The vectors are writable.

    Args:
      connection: where it comes from.
      max_bytes: most bytes of body and vectors together; None leaves it to the limit of each.

    Raises:
      MalformedMessage: the bytes are no frame within the limits.
      EOFError: the other side ended before the frame did.
      OSError: the other side is gone or too slow.
    """
    magic, length = _PREFIX.unpack(_read(connection, _PREFIX.size))
    if magic != MAGIC or length > MAX_HEADER_BYTES:
        raise MalformedMessage(
            f"frame starts with {magic!r} and a header of {length} bytes; expected {MAGIC!r}"
        )
    header = _header(bytes(_read(connection, length)))
    if isinstance(header, LostHeader):
        return Lost(client=header.client, reason="failed")
    sizes = [nbytes(dtype, count) for dtype, count in header.vectors]
    total = header.body + sum(sizes)
    if max_bytes is not None and total > max_bytes:
        raise MalformedMessage(f"message of {total} bytes; at most {max_bytes} are read here")
    body = bytes(_read(connection, header.body))
    vectors = [
        from_bytes(_read(connection, size), dtype=dtype, length=count)
        for size, (dtype, count) in zip(sizes, header.vectors, strict=True)
    ]
    return Message(client=header.client, body=body, vectors=tuple(vectors))


def _pieces(message: Message | Lost) -> Iterator[bytes | memoryview]:
    if isinstance(message, Lost):
        yield _head(LostHeader(client=message.client))
        return
    if len(message.vectors) > MAX_VECTORS or len(message.body) > MAX_BODY_BYTES:
        raise MalformedMessage(
            f"message of {len(message.body)} bytes and {len(message.vectors)} vectors;"
            f" at most {MAX_BODY_BYTES} and {MAX_VECTORS} travel"
        )
    vectors = tuple((dtype_of(vector), len(vector)) for vector in message.vectors)
    yield _head(MessageHeader(client=message.client, body=len(message.body), vectors=vectors))
    yield message.body
    for vector in message.vectors:
        yield _raw(vector)


def _head(header: Header) -> bytes:
    encoded = msgspec.msgpack.encode(header)
    return _PREFIX.pack(MAGIC, len(encoded)) + encoded


def _raw(vector: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(vector).view(np.uint8).data


def _header(data: bytes) -> Header:
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessage(f"frame header does not decode: {error}") from None


def _read(connection: Source, size: int) -> memoryview:
    """Returns exactly ``size`` bytes. Memory is touched only as far as bytes arrive."""
    buffer = np.empty(size, dtype=np.uint8).data
    done = 0
    while done < size:
        count = connection.recv_into(buffer[done:])
        if count == 0:
            raise EOFError(f"connection ended after {done} of {size} bytes")
        done += count
    return buffer
