"""Messages of a round as Flower records, and back: strict in both directions.

=============  ===============  ============================================================
record         type             entries
=============  ===============  ============================================================
``message``    ConfigRecord     ``version``, ``client``, ``body``; in a request also
                                ``address`` and ``seconds``; ``lost`` instead of ``body``
                                in a reply that stands for no answer
``vectors``    ArrayRecord      ``0``, ``1``, …: raw little-endian bytes, see
                                :mod:`fedlearn.federation.vectors`; absent if there are none
=============  ===============  ============================================================

Vectors travel in an ArrayRecord because Flower sends its arrays in chunks, and in our own
serialisation type because it needs neither a copy nor a header to parse.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray

from fedlearn.errors import MalformedMessage
from fedlearn.federation.vectors import MAX_VECTORS, dtype_of, from_bytes
from fedlearn.rounds.messages import MAX_BODY_BYTES
from fedlearn.rounds.transport import Lost, Message

WIRE_VERSION = 1
STYPE = "fedlearn.raw"
REASONS = frozenset({"timeout", "unreachable", "failed"})
MAX_NAME = 128
MAX_ADDRESS = 4096

_REQUEST = frozenset({"version", "client", "body", "address", "seconds"})
_REPLY = frozenset({"version", "client", "body"})
_LOST = frozenset({"version", "client", "lost"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Errand:
    """What a relay is asked to do.

    Attributes:
      message: the request, to be handed over unread.
      address: where the client lives: the path of its host's Unix socket, or the name of its host's actor;
        empty where the node knows it.
      seconds: how long the relay may wait for the answer; infinite if there is no deadline.
    """

    message: Message
    address: str = ""
    seconds: float = math.inf


class ArrayCache:
    """Encodes the vectors of requests; a vector sent to many clients is encoded once.

    Holds the vectors of the last message only, so that its memory does not grow with the cohort.
    """

    def __init__(self) -> None:
        self._vectors: tuple[NDArray[Any], ...] = ()
        self._arrays: tuple[Array, ...] = ()

    def record(self, vectors: tuple[NDArray[Any], ...]) -> ArrayRecord:
        """Returns the vectors as an ArrayRecord; raises MalformedMessage for one that cannot travel."""
        same = len(vectors) == len(self._vectors) and all(
            new is old for new, old in zip(vectors, self._vectors, strict=True)
        )
        if not same:
            self._vectors, self._arrays = vectors, tuple(_arrays(vectors))
        return ArrayRecord({str(index): array for index, array in enumerate(self._arrays)})


def encode_errand(errand: Errand, *, cache: ArrayCache) -> RecordDict:
    """Returns a request as Flower records; raises MalformedMessage for what could not be read back."""
    _check_name(errand.message.client)
    _check_body(errand.message.body)
    entries = {
        "version": WIRE_VERSION,
        "client": errand.message.client,
        "body": errand.message.body,
        "address": errand.address,
        "seconds": float(errand.seconds),
    }
    return _content(entries, errand.message.vectors, cache)


def decode_errand(content: RecordDict) -> Errand:
    """Returns the request; raises MalformedMessage if the records are not exactly one."""
    entries = _entries(content, {_REQUEST})
    address, seconds = _typed(entries, "address", str), _typed(entries, "seconds", float)
    if len(address) > MAX_ADDRESS:
        raise MalformedMessage(f"address of {len(address)} characters; at most {MAX_ADDRESS} are read")
    if not seconds > 0:
        raise MalformedMessage(f"seconds={seconds} must be positive")
    return Errand(message=_message(entries, content), address=address, seconds=seconds)


def encode_reply(answer: Message | Lost) -> RecordDict:
    """Returns an answer as Flower records; raises MalformedMessage for what could not be read back."""
    _check_name(answer.client)
    entries: dict[str, Any] = {"version": WIRE_VERSION, "client": answer.client}
    if isinstance(answer, Lost):
        return _content(entries | {"lost": answer.reason}, (), ArrayCache())
    _check_body(answer.body)
    return _content(entries | {"body": answer.body}, answer.vectors, ArrayCache())


def decode_reply(content: RecordDict) -> Message | Lost:
    """Returns the answer; raises MalformedMessage if the records are not exactly one."""
    entries = _entries(content, {_REPLY, _LOST})
    if "lost" not in entries:
        return _message(entries, content)
    reason = _typed(entries, "lost", str)
    if reason not in REASONS or "vectors" in content:
        raise MalformedMessage(
            f"lost={reason[:32]!r} must be one of {', '.join(sorted(REASONS))}, without vectors"
        )
    return Lost(client=_client(entries), reason=reason)


def _content(entries: dict[str, Any], vectors: tuple[NDArray[Any], ...], cache: ArrayCache) -> RecordDict:
    records: dict[str, Any] = {"message": ConfigRecord(entries)}
    if vectors:
        records["vectors"] = cache.record(vectors)
    return RecordDict(records)


def _arrays(vectors: tuple[NDArray[Any], ...]) -> Iterable[Array]:
    if len(vectors) > MAX_VECTORS:
        raise MalformedMessage(f"{len(vectors)} vectors; at most {MAX_VECTORS} travel with one message")
    for vector in vectors:
        yield Array(dtype=dtype_of(vector), shape=(len(vector),), stype=STYPE, data=vector.tobytes())


def _entries(content: RecordDict, known: set[frozenset[str]]) -> ConfigRecord:
    if not {"message"} <= set(content) <= {"message", "vectors"}:
        raise MalformedMessage(f"records {_names(content)} must be 'message' and, if any, 'vectors'")
    entries = content["message"]
    if not isinstance(entries, ConfigRecord) or frozenset(entries) not in known:
        expected = " or ".join(", ".join(sorted(keys)) for keys in sorted(known, key=sorted))
        raise MalformedMessage(f"entries {_names(entries)} of record 'message' must be {expected}")
    if _typed(entries, "version", int) != WIRE_VERSION:
        raise MalformedMessage(f"wire version {entries['version']}; this side speaks {WIRE_VERSION}")
    return entries


def _names(names: Iterable[str]) -> str:
    return ", ".join(repr(str(name)[:32]) for name in sorted(names)[:8]) or "(none)"


def _typed(entries: ConfigRecord, key: str, kind: type[Any]) -> Any:
    value = entries[key]
    if type(value) is not kind:  # exact: a bool is an int, and neither travels as the other
        raise MalformedMessage(f"entry {key!r} is of type {type(value).__name__}; expected {kind.__name__}")
    return value


def _client(entries: ConfigRecord) -> str:
    client: str = _typed(entries, "client", str)
    _check_name(client)
    return client


def _message(entries: ConfigRecord, content: RecordDict) -> Message:
    body: bytes = _typed(entries, "body", bytes)
    _check_body(body)
    return Message(client=_client(entries), body=body, vectors=_vectors(content))


def _vectors(content: RecordDict) -> tuple[NDArray[Any], ...]:
    if "vectors" not in content:
        return ()
    record = content["vectors"]
    if not isinstance(record, ArrayRecord) or not 0 < len(record) <= MAX_VECTORS:
        raise MalformedMessage(f"record 'vectors' must be an ArrayRecord of 1 to {MAX_VECTORS} arrays")
    if list(record) != [str(index) for index in range(len(record))]:
        raise MalformedMessage(f"arrays {_names(record)} must be called '0', '1', … in this order")
    return tuple(_vector(array) for array in record.values())


def _vector(array: Array) -> NDArray[Any]:
    if array.stype != STYPE or len(array.shape) != 1:
        raise MalformedMessage(
            f"array of type {array.stype[:32]!r} and shape {array.shape[:4]}; expected {STYPE!r} and one axis"
        )
    return from_bytes(array.data, dtype=array.dtype, length=array.shape[0])


def _check_name(client: str) -> None:
    if not 0 < len(client) <= MAX_NAME:
        raise MalformedMessage(f"client id of {len(client)} characters; 1 to {MAX_NAME} are read")


def _check_body(body: bytes) -> None:
    if len(body) > MAX_BODY_BYTES:
        raise MalformedMessage(f"body of {len(body)} bytes; at most {MAX_BODY_BYTES} are read")
