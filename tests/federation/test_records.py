"""Flower records: what goes in comes out, and anything else is malformed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from fedlearn.errors import MalformedMessage
from fedlearn.federation.records import (
    MAX_ADDRESS,
    REASONS,
    STYPE,
    ArrayCache,
    Errand,
    decode_errand,
    decode_reply,
    encode_errand,
    encode_reply,
)
from fedlearn.rounds.messages import MAX_BODY_BYTES
from fedlearn.rounds.transport import Lost, Message
from tests.federation.message_strategies import assert_same, clients, messages

VECTOR = np.arange(4, dtype=np.float32)
REQUEST = Errand(message=Message(client="a", body=b"body", vectors=(VECTOR,)), address="/tmp/s", seconds=3.0)  # noqa: S108


@given(messages(), st.text(max_size=64), st.floats(min_value=1e-3, allow_nan=False))
def test_a_request_survives(message: Message, address: str, seconds: float) -> None:
    errand = Errand(message=message, address=address, seconds=seconds)
    read = decode_errand(encode_errand(errand, cache=ArrayCache()))
    assert (read.address, read.seconds) == (address, seconds)
    assert_same(read.message, message)


@given(messages())
def test_a_reply_survives(message: Message) -> None:
    read = decode_reply(encode_reply(message))
    assert isinstance(read, Message)
    assert_same(read, message)


@given(clients, st.sampled_from(sorted(REASONS)))
def test_a_loss_survives(client: str, reason: str) -> None:
    assert decode_reply(encode_reply(Lost(client=client, reason=reason))) == Lost(
        client=client, reason=reason
    )


def test_no_deadline_survives() -> None:
    read = decode_errand(encode_errand(Errand(message=Message(client="a", body=b"")), cache=ArrayCache()))
    assert math.isinf(read.seconds)


def test_a_vector_for_many_clients_is_encoded_once() -> None:
    cache = ArrayCache()
    records = [
        encode_errand(Errand(message=Message(client=name, body=b"", vectors=(VECTOR,))), cache=cache)
        for name in "abc"
    ]
    assert len({id(record["vectors"]["0"].data) for record in records}) == 1


def test_a_changed_vector_is_not_mistaken_for_the_last() -> None:
    cache = ArrayCache()
    for value in (1.0, 2.0):
        message = Message(client="a", body=b"", vectors=(np.full(2, value, np.float32),))
        assert_same(decode_errand(encode_errand(Errand(message=message), cache=cache)).message, message)


def array(**changes: Any) -> Array:
    parts: dict[str, Any] = {"dtype": "<f4", "shape": (4,), "stype": STYPE, "data": VECTOR.tobytes()}
    return Array(**(parts | changes))


def with_entry(**changes: Any) -> RecordDict:
    content = encode_errand(REQUEST, cache=ArrayCache())
    return RecordDict({**content, "message": ConfigRecord(dict(content["message"]) | changes)})


def with_arrays(arrays: dict[str, Array]) -> RecordDict:
    return RecordDict({**encode_errand(REQUEST, cache=ArrayCache()), "vectors": ArrayRecord(arrays)})


def without(key: str) -> RecordDict:
    entries = dict(encode_errand(REQUEST, cache=ArrayCache())["message"])
    del entries[key]
    return RecordDict({"message": ConfigRecord(entries)})


HOSTILE = {
    "empty": RecordDict,
    "no message": lambda: RecordDict({"vectors": ArrayRecord({"0": array()})}),
    "a third record": lambda: RecordDict({**with_entry(), "code": ConfigRecord({"run": "me"})}),
    "message of another kind": lambda: RecordDict({"message": MetricRecord({"version": 1})}),
    "vectors of another kind": lambda: RecordDict({**with_entry(), "vectors": ConfigRecord({"0": b""})}),
    "unknown entry": lambda: with_entry(pickle=b""),
    "no body": lambda: without("body"),
    "no client": lambda: without("client"),
    "no address": lambda: without("address"),
    "no seconds": lambda: without("seconds"),
    "no version": lambda: without("version"),
    "another version": lambda: with_entry(version=2),
    "version as bool": lambda: with_entry(version=True),
    "client as bytes": lambda: with_entry(client=b"a"),
    "empty client": lambda: with_entry(client=""),
    "long client": lambda: with_entry(client="a" * 129),
    "body as text": lambda: with_entry(body="body"),
    "body as list": lambda: with_entry(body=[b"body"]),
    "huge body": lambda: with_entry(body=bytes(MAX_BODY_BYTES + 1)),
    "long address": lambda: with_entry(address="a" * (MAX_ADDRESS + 1)),
    "seconds as int": lambda: with_entry(seconds=3),
    "no time": lambda: with_entry(seconds=0.0),
    "seconds NaN": lambda: with_entry(seconds=math.nan),
    "no array": lambda: with_arrays({}),
    "17 arrays": lambda: with_arrays({str(index): array() for index in range(17)}),
    "arrays out of order": lambda: with_arrays({"1": array(), "0": array()}),
    "array with a name": lambda: with_arrays({"weights": array()}),
    "npy serialisation": lambda: with_arrays({"0": Array(VECTOR)}),
    "pickled objects": lambda: with_arrays({"0": array(dtype="|O")}),
    "big-endian": lambda: with_arrays({"0": array(dtype=">f4")}),
    "unknown dtype": lambda: with_arrays({"0": array(dtype="float32")}),
    "matrix": lambda: with_arrays({"0": array(shape=(2, 2))}),
    "scalar": lambda: with_arrays({"0": array(shape=())}),
    "negative length": lambda: with_arrays({"0": array(shape=(-4,))}),
    "too short": lambda: with_arrays({"0": array(data=bytes(15))}),
    "too long": lambda: with_arrays({"0": array(data=bytes(17))}),
    "huge length": lambda: with_arrays({"0": array(shape=(2**60,))}),
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_hostile_records_are_malformed(make: Callable[[], RecordDict]) -> None:
    content = make()
    with pytest.raises(MalformedMessage):
        decode_errand(content)
    with pytest.raises(MalformedMessage):
        decode_reply(content)


@pytest.mark.parametrize("reason", ["", "whatever I like", "timeout\n"])
def test_a_reason_is_one_of_three(reason: str) -> None:
    content = RecordDict({"message": ConfigRecord({"version": 1, "client": "a", "lost": reason})})
    with pytest.raises(MalformedMessage):
        decode_reply(content)


def test_a_loss_carries_no_vectors() -> None:
    content = encode_reply(Lost(client="a", reason="failed"))
    content["vectors"] = ArrayRecord({"0": array()})
    with pytest.raises(MalformedMessage):
        decode_reply(content)


def test_a_reply_is_no_request() -> None:
    with pytest.raises(MalformedMessage):
        decode_errand(encode_reply(Message(client="a", body=b"")))


@pytest.mark.parametrize(
    "message",
    [
        Message(client="", body=b""),
        Message(client="a" * 129, body=b""),
        Message(client="a", body=bytes(MAX_BODY_BYTES + 1)),
        Message(client="a", body=b"", vectors=(np.zeros((2, 2), np.float32),)),
        Message(client="a", body=b"", vectors=(VECTOR,) * 17),
    ],
    ids=["no name", "long name", "huge body", "matrix", "17 vectors"],
)
def test_what_could_not_be_read_back_is_not_written(message: Message) -> None:
    with pytest.raises(MalformedMessage):
        encode_errand(Errand(message=message), cache=ArrayCache())
    with pytest.raises(MalformedMessage):
        encode_reply(message)
