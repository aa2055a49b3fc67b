"""Frames on a socket: what goes in comes out, and nothing else is read."""

from __future__ import annotations

import socket
import struct
import threading
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedlearn.errors import MalformedMessage
from fedlearn.federation import frames
from fedlearn.rounds.transport import Lost, Message
from tests.federation.message_strategies import assert_same, messages


def through_a_socket(message: Message | Lost) -> Message | Lost:
    left, right = socket.socketpair()
    with left, right:
        writer = threading.Thread(target=frames.send, args=(left, message))
        writer.start()
        received = frames.receive(right)
        writer.join()
    return received


def read(data: bytes) -> Message | Lost:
    left, right = socket.socketpair()
    with left, right:
        left.sendall(data)
        left.close()
        return frames.receive(right)


def frame(header: object, rest: bytes = b"", *, magic: bytes = frames.MAGIC) -> bytes:
    encoded = msgspec.msgpack.encode(header)
    return struct.pack("<4sI", magic, len(encoded)) + encoded + rest


@given(messages())
def test_a_message_survives_the_socket(message: Message) -> None:
    received = through_a_socket(message)
    assert isinstance(received, Message)
    assert_same(received, message)


@given(messages())
def test_a_message_survives_as_bytes(message: Message) -> None:
    received = frames.unpack(frames.pack(message))
    assert isinstance(received, Message)
    assert_same(received, message)
    for vector in received.vectors:
        assert vector.flags.writeable


@given(messages(), st.data())
def test_bytes_that_are_cut_or_go_on_are_no_frame(message: Message, data: st.DataObject) -> None:
    whole = frames.pack(message)
    for wrong in (whole[: data.draw(st.integers(0, len(whole) - 1))], whole + b"\0"):
        with pytest.raises(MalformedMessage):
            frames.unpack(wrong)


def test_a_large_vector_survives_and_is_writable() -> None:
    vector = np.arange(3_000_000, dtype=np.float32)
    received = through_a_socket(Message(client="c", body=b"", vectors=(vector,)))
    assert isinstance(received, Message)
    np.testing.assert_array_equal(received.vectors[0], vector)
    received.vectors[0][0] = 1.0


def test_a_strided_vector_arrives_in_its_own_order() -> None:
    vector = np.arange(10, dtype=np.int32)[::-2]
    received = through_a_socket(Message(client="c", body=b"", vectors=(vector,)))
    assert isinstance(received, Message)
    np.testing.assert_array_equal(received.vectors[0], vector)


def test_lost_survives_as_failed() -> None:
    assert through_a_socket(Lost(client="c", reason="timeout")) == Lost(client="c", reason="failed")


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    with pytest.raises((MalformedMessage, EOFError)):
        read(data)


@settings(max_examples=200)
@given(messages(max_length=4), st.data())
def test_a_truncated_frame_is_refused(message: Message, data: st.DataObject) -> None:
    left, right = socket.socketpair()
    with left, right:
        frames.send(left, message)
        whole = right.recv(2**20)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises((MalformedMessage, EOFError)):
        read(whole[:cut])


GOOD = {"type": "message", "client": "c", "body": 0, "vectors": []}


BAD_FRAMES = {
    "magic": frame(GOOD, magic=b"FLF9"),
    "long header": struct.pack("<4sI", frames.MAGIC, frames.MAX_HEADER_BYTES + 1),
    "unknown key": frame(GOOD | {"pickle": b""}),
    "unknown tag": frame(GOOD | {"type": "code"}),
    "no client": frame({"type": "message", "body": 0}),
    "empty client": frame(GOOD | {"client": ""}),
    "long client": frame(GOOD | {"client": "c" * 129}),
    "negative body": frame(GOOD | {"body": -1}),
    "huge body": frame(GOOD | {"body": 2**40}),
    "object dtype": frame(GOOD | {"vectors": [["|O", 1]]}, b"\0" * 8),
    "big-endian": frame(GOOD | {"vectors": [[">f4", 1]]}, b"\0" * 4),
    "huge vector": frame(GOOD | {"vectors": [["<f8", 2**31 - 1]]}),
    "negative vector": frame(GOOD | {"vectors": [["<f4", -1]]}),
    "many vectors": frame(GOOD | {"vectors": [["<f4", 0]] * 17}),
    "not MessagePack": struct.pack("<4sI", frames.MAGIC, 3) + b"\xc1\xc1\xc1",
}


@pytest.mark.parametrize("data", BAD_FRAMES.values(), ids=BAD_FRAMES)
def test_a_bad_frame_is_refused_from_its_header(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        read(data)


@pytest.mark.parametrize(
    "vector",
    [np.zeros((2, 2), np.float32), np.array([object()]), np.zeros(1, ">f4"), np.zeros(1, np.complex64)],
    ids=["matrix", "objects", "big-endian", "complex"],
)
def test_a_vector_that_cannot_travel_is_refused_before_it_is_sent(vector: NDArray[Any]) -> None:
    left, right = socket.socketpair()
    with left, right, pytest.raises(MalformedMessage):
        frames.send(left, Message(client="c", body=b"", vectors=(vector,)))
