"""One flipped bit anywhere is refused; any bytes at all are refused or read, and never anything else."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedlearn._types import RingVector
from fedlearn.crypto.identity import SigningKey
from fedlearn.errors import MalformedMessage, ProtocolError, TamperedMessage
from fedlearn.secagg.messages import MAX_BODY_BYTES, decode_reply, decode_request
from fedlearn.secagg.roster import Roster, open_roster
from tests.secagg.secagg_session import AGREED, MODEL, Federation, key_of, names_of

STEPS = ["advertise", "share", "inputs", "agree", "unmask"]
VICTIM = names_of(4)[1]
CONSORTIUM = SigningKey.from_bytes(bytes(range(32)))
ROSTER = Roster(version=3, members={name: key_of(name).public for name in names_of(3)}).sign(CONSORTIUM)


def flips(body: bytes, stride: int) -> list[bytes]:
    """The body with one bit flipped, a different bit in every ``stride``-th byte."""
    altered = []
    for place in range(0, len(body), stride):
        copy = bytearray(body)
        copy[place] ^= 1 << place // stride % 8
        altered.append(bytes(copy))
    return altered


def give(federation: Federation, step: str, body: bytes) -> None:
    client = federation.clients[VICTIM]
    if step == "inputs":
        client.accept_inputs_request(body, model_digest=MODEL, configuration_digest=AGREED)
    else:
        client.receive(body)


@pytest.mark.parametrize("step", STEPS)
def test_one_flipped_bit_in_a_request_is_refused_and_the_honest_request_still_answered(step: str) -> None:
    federation = Federation(4)
    federation.until(step)
    body = federation.server.requests()[VICTIM]
    for altered in flips(body, 1 if len(body) < 400 else 3):
        try:
            give(federation, step, altered)
        except ProtocolError:
            continue
        # Dimension and modulus are compared when the vector is there.
        with pytest.raises(ProtocolError):
            federation.clients[VICTIM].mask(federation.inputs[VICTIM].copy())
    federation.exchange()


@pytest.mark.parametrize("step", STEPS)
def test_one_flipped_bit_in_a_reply_is_refused_and_the_honest_reply_still_taken(step: str) -> None:
    federation = Federation(4)
    federation.until(step)
    body, vector = federation.answer(VICTIM, federation.server.requests()[VICTIM])
    for altered in flips(body, 1 if len(body) < 400 else 2):
        with pytest.raises(ProtocolError):
            federation.server.receive(VICTIM, altered, vector)
    assert VICTIM in federation.server.excluded
    federation.server.receive(VICTIM, body, vector)
    assert VICTIM not in federation.server.excluded


def test_one_flipped_bit_in_a_vector_is_refused() -> None:
    federation = Federation(4)
    federation.until("inputs")
    body, vector = federation.answer(VICTIM, federation.server.requests()[VICTIM])
    assert vector is not None
    for bit in range(8 * vector.nbytes):
        altered: RingVector = vector.copy()
        altered[bit // 32] ^= altered.dtype.type(1 << bit % 32)
        with pytest.raises(TamperedMessage, match="not the one it signed"):
            federation.server.receive(VICTIM, body, altered)
    assert not federation.server.total.any()
    federation.server.receive(VICTIM, body, vector)


def test_one_flipped_bit_in_a_roster_is_refused() -> None:
    for altered in flips(ROSTER, 1):
        with pytest.raises(ProtocolError):
            open_roster(altered, consortium=CONSORTIUM.public)
    assert open_roster(ROSTER, consortium=CONSORTIUM.public).version == 3


def samples() -> list[bytes]:
    federation = Federation(4)
    federation.until("finished")
    bodies = [body for step in STEPS for body, _ in federation.sent[step].values()]
    return [*bodies, *(body for step in STEPS for body in federation.requested[step].values()), ROSTER]


SAMPLES = samples()
DECODERS: list[Callable[[bytes], object]] = [
    decode_request,
    decode_reply,
    lambda body: open_roster(body, consortium=CONSORTIUM.public),
]


@given(body=st.binary(max_size=300), decoder=st.sampled_from(DECODERS))
@settings(max_examples=300)
def test_decoders_take_any_bytes(body: bytes, decoder: Callable[[bytes], object]) -> None:
    with contextlib.suppress(ProtocolError):
        decoder(body)


@given(data=st.data(), decoder=st.sampled_from(DECODERS))
@settings(max_examples=300, deadline=None)
def test_decoders_take_any_damaged_message(data: st.DataObject, decoder: Callable[[bytes], object]) -> None:
    body = data.draw(st.sampled_from(SAMPLES))
    start = data.draw(st.integers(0, len(body)))
    end = data.draw(st.integers(start, min(len(body), start + 40)))
    damaged = body[:start] + data.draw(st.binary(max_size=40)) + body[end:]
    with contextlib.suppress(ProtocolError):
        decoder(damaged)


NESTED = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary() | st.text(),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=20,
)
TAGS = ["advertise", "advert", "share", "dealing", "inputs", "masked", "complaint", "agree", "unmask"]


@given(tag=st.sampled_from(TAGS), fields=st.lists(NESTED, max_size=6), decoder=st.sampled_from(DECODERS[:2]))
@settings(max_examples=300)
def test_decoders_take_any_structure(
    tag: str, fields: list[object], decoder: Callable[[bytes], object]
) -> None:
    with contextlib.suppress(ProtocolError):
        decoder(msgspec.msgpack.encode([f"sa1.{tag}", *fields]))


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_server_and_client_survive_any_body(data: st.DataObject) -> None:
    federation = Federation(4)
    federation.until(data.draw(st.sampled_from(STEPS)))
    body = data.draw(st.binary(max_size=200) | st.sampled_from(SAMPLES))
    for party in (federation.clients[VICTIM].receive, lambda b: federation.server.receive(VICTIM, b)):
        with contextlib.suppress(ProtocolError):
            party(body)


def test_a_body_beyond_the_limit_is_not_decoded() -> None:
    for decoder in DECODERS:
        with pytest.raises(MalformedMessage, match=f"at most {MAX_BODY_BYTES}|at most 4194304"):
            decoder(bytes(MAX_BODY_BYTES + 1))


def test_deep_nesting_is_refused() -> None:
    for decoder in DECODERS:
        with pytest.raises(MalformedMessage):
            decoder(b"\x91" * 100_000)


@pytest.mark.parametrize("tail", [b"\0", b"\xc0", SAMPLES[0]])
def test_trailing_bytes_are_refused(tail: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode_reply(SAMPLES[0] + tail)


def test_a_second_encoding_of_the_same_message_is_refused() -> None:
    tag, *fields = msgspec.msgpack.decode(SAMPLES[0])
    # The same array under a 16-bit instead of a 4-bit length: same meaning, other bytes.
    longer = b"\xdc" + (len(fields) + 1).to_bytes(2, "big") + SAMPLES[0][1:]
    assert msgspec.msgpack.decode(longer) == [tag, *fields]
    with pytest.raises(MalformedMessage, match="canonical"):
        decode_reply(longer)
