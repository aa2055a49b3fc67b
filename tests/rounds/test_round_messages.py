"""Messages of a round: what is sent arrives, and nothing else is ever taken for a message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedlearn.errors import MalformedMessage
from fedlearn.rounds import messages as module_under_test
from fedlearn.rounds.messages import (
    MAX_BODY_BYTES,
    WIRE_VERSION,
    Failure,
    Reply,
    Request,
    SecureReply,
    SecureRequest,
    SecureTrainRequest,
    TrainReply,
    TrainRequest,
    decode_reply,
    decode_request,
    encode,
)

Decoder = Callable[[bytes], Request | Reply]
REQUESTS: list[Request] = [
    TrainRequest(run="r", round=0),
    SecureRequest(run="hospitals-0", round=7, payload=b"\x00\xff"),
    SecureTrainRequest(run="é" * 128, round=2**31, payload=b""),
]
REPLIES: list[Reply] = [
    TrainReply(run="r", round=0),
    SecureReply(run="r", round=1, payload=b"sealed"),
    Failure(run="r", round=1, code="DataError"),
    Failure(run="r", round=1, code="DataError", detail="d" * 4096),
]
CASES = [(decode_request, message) for message in REQUESTS] + [(decode_reply, reply) for reply in REPLIES]
PLAIN = {"type": "train", "run": "r", "round": 0, "version": WIRE_VERSION}


def packed(**fields: Any) -> bytes:
    return msgspec.msgpack.encode({**PLAIN, **fields})


def name_of(value: object) -> str:
    return type(value).__name__ if isinstance(value, msgspec.Struct) else getattr(value, "__name__", "")


@pytest.mark.parametrize(("decode", "message"), CASES, ids=name_of)
class TestEveryMessage:
    def test_it_comes_back_as_it_was(self, decode: Decoder, message: Request | Reply) -> None:
        assert decode(encode(message)) == message
        assert decode(encode(message)).version == WIRE_VERSION

    def test_it_is_not_taken_for_the_other_direction(self, decode: Decoder, message: Request | Reply) -> None:
        other = decode_reply if decode is decode_request else decode_request
        with pytest.raises(MalformedMessage, match="Invalid value"):
            other(encode(message))

    def test_no_shorter_and_no_longer_message_is_read(
        self, decode: Decoder, message: Request | Reply
    ) -> None:
        body = encode(message)
        for cut in {*range(min(len(body), 64)), len(body) - 1}:
            with pytest.raises(MalformedMessage):
                decode(body[:cut])
        with pytest.raises(MalformedMessage, match="trailing"):
            decode(body + b"\x00")

    def test_it_cannot_be_changed(self, decode: Decoder, message: Request | Reply) -> None:
        with pytest.raises(AttributeError):
            message.round = 5  # type: ignore[misc]  # what is refused

    @given(data=st.data())
    def test_any_one_byte_changed_is_refused_or_still_a_message(
        self, decode: Decoder, message: Request | Reply, data: st.DataObject
    ) -> None:
        body = bytearray(encode(message))
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
        try:
            seen = decode(bytes(body))
        except MalformedMessage:
            return
        assert type(seen).__module__ == module_under_test.__name__


class TestRefusals:
    def test_the_plain_body_is_a_message(self) -> None:
        assert decode_request(packed()) == TrainRequest(run="r", round=0)

    @pytest.mark.parametrize(
        "fields",
        [
            {"extra": 1},
            {"type": "tran"},
            {"type": "trained"},
            {"run": ""},
            {"run": "r" * 129},
            {"run": 5},
            {"run": None},
            {"round": -1},
            {"round": 2**31 + 1},
            {"round": 1.0},
            {"round": True},
            {"round": "1"},
            {"version": 0},
            {"version": 256},
            {"payload": b""},
        ],
        ids=str,
    )
    def test_a_field_that_the_schema_does_not_allow(self, fields: dict[str, Any]) -> None:
        with pytest.raises(MalformedMessage, match="does not decode"):
            decode_request(packed(**fields))

    @pytest.mark.parametrize("missing", ["type", "run", "round"])
    def test_a_missing_field(self, missing: str) -> None:
        body = msgspec.msgpack.encode({key: value for key, value in PLAIN.items() if key != missing})
        with pytest.raises(MalformedMessage, match="does not decode"):
            decode_request(body)

    @pytest.mark.parametrize("version", [2, 255])
    def test_another_version_says_both(self, version: int) -> None:
        with pytest.raises(
            MalformedMessage, match=f"wire version {version}; this side speaks {WIRE_VERSION}"
        ):
            decode_request(packed(version=version))
        body = msgspec.msgpack.encode({**PLAIN, "type": "trained", "version": version})
        with pytest.raises(MalformedMessage, match=f"wire version {version}"):
            decode_reply(body)

    def test_a_body_above_the_limit_is_not_even_parsed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module_under_test, "MAX_BODY_BYTES", 100)
        body = encode(SecureReply(run="r", round=0, payload=bytes(100)))
        with pytest.raises(MalformedMessage, match=rf"message of {len(body)} bytes; at most 100 are read"):
            decode_reply(body)

    def test_a_payload_may_be_64_mebibytes_less_its_envelope(self) -> None:
        envelope = len(encode(SecureReply(run="r", round=0, payload=bytes(2**16))))
        assert MAX_BODY_BYTES == 2**26
        assert envelope - 2**16 < 96

    @pytest.mark.parametrize("field", [{"code": "c" * 65}, {"detail": "d" * 4097}], ids=["code", "detail"])
    def test_a_failure_that_is_too_long(self, field: dict[str, str]) -> None:
        body = msgspec.msgpack.encode({"type": "failure", "run": "r", "round": 0, "code": "c", **field})
        with pytest.raises(MalformedMessage, match="does not decode"):
            decode_reply(body)

    def test_text_that_is_no_utf8(self) -> None:
        with pytest.raises(MalformedMessage, match="does not decode"):
            decode_request(packed(run="xyzw").replace(b"xyzw", b"\xff\xfe\xfd\xfc"))

    def test_a_bomb_of_nested_lists(self) -> None:
        with pytest.raises(MalformedMessage, match="does not decode"):
            decode_request(b"\x91" * 200_000)

    @pytest.mark.parametrize("nested", [b"\x91" * 200_000, b"\x81\xa1a" * 100_000], ids=["lists", "maps"])
    def test_a_bomb_in_an_unknown_field(self, nested: bytes) -> None:
        body = b"\x84" + b"".join(map(msgspec.msgpack.encode, ("type", "train", "run", "r", "round", 0, "x")))
        with pytest.raises(MalformedMessage, match="does not decode"):
            decode_request(body + nested)


ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NEAR_MISSES = st.dictionaries(
    st.sampled_from(["type", "run", "round", "version", "payload", "code", "detail", "x"]),
    ANYTHING | st.sampled_from(["train", "secure", "trained", "failure", 0, 1, b""]),
)


@pytest.mark.parametrize("decode", [decode_request, decode_reply])
@given(
    st.binary(max_size=200) | ANYTHING.map(msgspec.msgpack.encode) | NEAR_MISSES.map(msgspec.msgpack.encode)
)
def test_whatever_comes_is_a_message_or_malformed(decode: Decoder, body: bytes) -> None:
    try:
        message = decode(body)
    except MalformedMessage:
        return
    assert decode(encode(message)) == message
