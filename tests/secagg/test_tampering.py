"""One flipped bit anywhere is refused; any bytes at all are refused or read, and never anything else."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedlearn._types import RingVector
from fedlearn.crypto.identity import SigningKey
from fedlearn.errors import FaultyDealer, MalformedMessage, ProtocolError, TamperedMessage
from fedlearn.secagg.messages import MAX_BODY_BYTES, Complaint, decode_reply, decode_request, encode
from fedlearn.secagg.roster import Roster, open_roster
from fedlearn.secagg.transcript import complaint_bytes
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


def refuses(federation: Federation, step: str, request: bytes) -> None:
    """The victim refuses the request, or its own vector under it."""
    try:
        give(federation, step, request)
    except ProtocolError:
        return
    # Dimension and modulus are compared when the vector is there.
    with pytest.raises(ProtocolError):
        federation.clients[VICTIM].mask(federation.inputs[VICTIM].copy())


@pytest.mark.parametrize("step", STEPS)
def test_one_flipped_bit_in_a_request_is_refused_and_the_honest_request_still_answered(step: str) -> None:
    federation = Federation(4)
    federation.until(step)
    body = federation.server.requests()[VICTIM]
    for altered in flips(body, 1 if len(body) < 400 else 3):
        refuses(federation, step, altered)
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


def leaves_of(value: Any, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Any]]:
    """Every field of a decoded message, however deep, with the way to it."""
    if isinstance(value, list):
        for place, item in enumerate(value):
            yield from leaves_of(item, (*path, place))
    else:
        yield path, value


def with_leaf(value: Any, path: tuple[int, ...], leaf: Any) -> Any:
    if not path:
        return leaf
    return [with_leaf(item, path[1:], leaf) if i == path[0] else item for i, item in enumerate(value)]


def flipped(leaf: Any) -> Any:
    """The field with its last bit flipped."""
    if isinstance(leaf, int):
        return leaf ^ 1
    raw = leaf.encode() if isinstance(leaf, str) else leaf
    changed = raw[:-1] + bytes([raw[-1] ^ 1])
    return changed.decode() if isinstance(leaf, str) else changed


def with_each_field_changed(body: bytes) -> list[bytes]:
    message = msgspec.msgpack.decode(body)
    return [
        msgspec.msgpack.encode(with_leaf(message, path, flipped(leaf))) for path, leaf in leaves_of(message)
    ]


@pytest.mark.parametrize("step", STEPS)
def test_every_field_of_a_request_is_checked(step: str) -> None:
    federation = Federation(4)
    federation.until(step)
    for altered in with_each_field_changed(federation.server.requests()[VICTIM]):
        refuses(federation, step, altered)
    federation.exchange()


@pytest.mark.parametrize("step", STEPS)
def test_every_field_of_a_reply_is_checked(step: str) -> None:
    federation = Federation(4)
    federation.until(step)
    body, vector = federation.answer(VICTIM, federation.server.requests()[VICTIM])
    for altered in with_each_field_changed(body):
        with pytest.raises(ProtocolError):
            federation.server.receive(VICTIM, altered, vector)
    federation.server.receive(VICTIM, body, vector)


def test_every_bit_of_a_complaint_is_checked() -> None:
    federation = Federation(4)
    federation.until("inputs")
    session = federation.server._session().session
    accused = names_of(4)[2]
    signature = key_of(VICTIM).sign(complaint_bytes(session, holder=VICTIM, dealer=accused))
    honest = encode(Complaint(accused, signature))
    for altered in [*flips(honest, 1), *with_each_field_changed(honest)]:
        with pytest.raises(ProtocolError) as caught:
            federation.server.receive(VICTIM, altered)
        assert not isinstance(caught.value, FaultyDealer)
    assert not federation.server.complaints
    with pytest.raises(FaultyDealer):
        federation.server.receive(VICTIM, honest)


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


@given(data=st.data())
@settings(max_examples=60)
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
