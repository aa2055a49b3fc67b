"""What the processes of a pool tell each other; vectors lie in shared memory beside it."""

from __future__ import annotations

from multiprocessing.connection import Connection
from typing import TypeAlias

import msgspec

from fedlearn.stopwatch import timed


class Order(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Requests for some clients, to be answered in turn.

    Attributes:
      clients: their ids.
      bodies: the request of each; a single one is the same for all.
      trains: whether the global vector in shared memory belongs to the requests.
      late: whether the answers come too late, so that their vectors are dropped.
    """

    clients: list[str]
    bodies: list[bytes]
    trains: bool
    late: bool = False


class Collect(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Write the sum of what was added into shared memory, and start a new one."""


class Stop(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """End."""


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a vector lies in shared memory.

    Attributes:
      slot: the place.
      dtype: numpy's name of its type.
      length: number of coordinates.
    """

    slot: int
    dtype: str
    length: int


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """One client's reply.

    Attributes:
      client: its id.
      body: the reply.
      added: bytes of its vector, which is in the worker's sum; 0 if it is not.
      places: where its vectors lie.
    """

    client: str
    body: bytes
    added: int = 0
    places: tuple[Place, ...] = ()


class Answers(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Replies of some clients.

    Attributes:
      answers: one for each client, in the order in which they answered.
      last: whether the order that they belong to is done.
    """

    answers: list[Answer]
    last: bool


class Sum(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The worker's sum lies in shared memory.

    Attributes:
      count: number of vectors in it.
      weight: Σ of their weights, as numerator and denominator in decimal.
      scales: the scales that are used, by their place in shared memory.
    """

    count: int
    weight: tuple[str, str]
    scales: list[int]


class Raised(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A client raised; the worker waits for nothing more.

    Attributes:
      client: the client; empty if the worker itself is at fault.
      kind: class name of the error.
      line: its message.
      trace: its traceback.
    """

    client: str
    kind: str
    line: str
    trace: str


ToWorker: TypeAlias = Order | Collect | Stop
FromWorker: TypeAlias = Answers | Sum | Raised

_encoder = msgspec.msgpack.Encoder()
_to_worker: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
_from_worker: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)


def send(connection: Connection, frame: ToWorker | FromWorker) -> None:
    """Sends one frame."""
    connection.send_bytes(_encoder.encode(frame))


@timed("waiting")
def receive_order(connection: Connection) -> ToWorker:
    """Returns the next frame for a worker; raises EOFError when the other side is gone."""
    return _to_worker.decode(connection.recv_bytes())


def receive_answer(connection: Connection) -> FromWorker:
    """Returns the next frame of a worker; raises EOFError when the worker is gone."""
    return _from_worker.decode(connection.recv_bytes())
