"""Signed messages: any change of a byte, an addressee, an author or a vector is caught."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedlearn.crypto.identity import SigningKey
from fedlearn.errors import ClockSkew, MalformedMessage, ProtocolError, TamperedMessage
from fedlearn.federation.envelope import LastDigest, check_clock, open_envelope, seal
from fedlearn.rounds.transport import Message

KEY = SigningKey.from_bytes(b"k" * 32)
VECTOR = np.arange(5, dtype=np.float32)
MESSAGE = Message(client="oslo", body=b"train", vectors=(VECTOR,))


def sealed(message: Message = MESSAGE) -> Message:
    return seal(message, kind="round", key=KEY, clock=lambda: 1000.0)[0]


def test_what_was_sealed_is_opened() -> None:
    message, name = seal(MESSAGE, kind="round", key=KEY, clock=lambda: 1000.5, answers=b"a" * 16)
    opened = open_envelope(message, author=KEY.public)
    assert opened.message.body == b"train"
    assert (opened.kind, opened.id, opened.answers, opened.sent) == ("round", name, b"a" * 16, 1000.5)


@settings(max_examples=200)
@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_every_flipped_bit_of_the_body_is_caught(position: int, bit: int) -> None:
    message = sealed()
    body = bytearray(message.body)
    body[position % len(body)] ^= 1 << bit
    with pytest.raises(ProtocolError):
        open_envelope(Message(client="oslo", body=bytes(body), vectors=(VECTOR,)), author=KEY.public)


@pytest.mark.parametrize(
    "vectors",
    [
        (),
        (VECTOR, VECTOR),
        (VECTOR[:4],),
        (VECTOR.view(np.uint32),),
        (VECTOR + np.float32(1e-3),),
    ],
)
def test_a_changed_vector_is_caught(vectors: tuple[np.ndarray, ...]) -> None:
    with pytest.raises(TamperedMessage):
        open_envelope(Message(client="oslo", body=sealed().body, vectors=vectors), author=KEY.public)


def test_another_author_or_addressee_is_caught() -> None:
    with pytest.raises(TamperedMessage):
        open_envelope(sealed(), author=SigningKey.generate().public)
    with pytest.raises(TamperedMessage, match="delivered as 'rome'"):
        open_envelope(Message(client="rome", body=sealed().body, vectors=(VECTOR,)), author=KEY.public)


@pytest.mark.parametrize("body", [b"", b"\x80", b"nonsense", b"\xc1" * 100])
def test_what_is_no_envelope_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedMessage):
        open_envelope(Message(client="oslo", body=body), author=KEY.public)


@pytest.mark.parametrize(("sent", "word"), [(1000.0 - 3600, "behind"), (1000.0 + 3600, "ahead of")])
def test_a_clock_off_by_an_hour_is_called_clock(sent: float, word: str) -> None:
    with pytest.raises(ClockSkew, match=f"^clock: .*3600 s {word} ours"):
        check_clock(sent, now=1000.0)
    check_clock(1000.0 - 299, now=1000.0)


def test_one_vector_to_many_sites_is_read_once() -> None:
    digest = LastDigest()
    first = digest(VECTOR)
    assert digest(VECTOR) is first
    assert digest(VECTOR.copy()) == first
    assert digest(VECTOR + np.float32(1)) != first
