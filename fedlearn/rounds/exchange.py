"""The bookkeeping of one round's messages: who answered, who is lost and why, how many bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from fedlearn._types import Vector
from fedlearn.errors import MalformedMessage, RunError
from fedlearn.rounds.messages import (
    Failure,
    Reply,
    Request,
    SecureReply,
    SecureRequest,
    SecureTrainRequest,
    TrainRequest,
    decode_reply,
    encode,
)
from fedlearn.rounds.transport import Lost, Message, Timed, Transport


class Traffic(NamedTuple):
    """Bytes of messages, with the vectors beside them.

    Attributes:
      down: sent to a client.
      up: received from it.
    """

    down: int
    up: int


def now_of(transport: Transport) -> float | None:
    """Returns the simulated time; None where none passes."""
    return transport.now if isinstance(transport, Timed) else None


class Exchange:
    """Sends the requests of one round and yields the replies that are well-formed and belong to it.

    Requests that prepare the next round may be among them: a client that is lost on one of these is
    missing there and no dropout here.

    Args:
      transport: carries the messages.
      run: the run's id; replies of another are dropped.
      round: round, counted from 0.
      deadline: seconds to wait for the answers of one step; None waits.
      strict: raise RunError when a client reports an error.

    Attributes:
      dropped: client → coarse reason, in the order in which they were found.
      missing_ahead: client → coarse reason why it did not answer for the next round.
      asked_to_train: the clients that were sent the model, in order.
      trips: how often requests were sent and answers awaited.
      traffic: client → bytes sent to it and received from it.
    """

    def __init__(
        self, transport: Transport, *, run: str, round: int, deadline: float | None, strict: bool
    ) -> None:
        self.round = round
        self.dropped: dict[str, str] = {}
        self.missing_ahead: dict[str, str] = {}
        self.asked_to_train: list[str] = []
        self.trips = 0
        self.traffic: dict[str, Traffic] = {}
        self._transport = transport
        self._began = now_of(transport)
        self._run = run
        self._deadline = deadline
        self._strict = strict

    def drop(self, client: str, reason: str) -> None:
        """Records a client as a dropout of the round; the first reason stays."""
        self.dropped.setdefault(client, reason)

    def miss(self, client: str, reason: str) -> None:
        """Records that a client gave no answer for the next round; the last reason stays."""
        self.missing_ahead[client] = reason

    @property
    def simulated_seconds(self) -> float | None:
        """Simulated time since the exchange began; None where none passes."""
        now = now_of(self._transport)
        return None if now is None or self._began is None else now - self._began

    def send(
        self, requests: Mapping[str, Request], *, vectors: tuple[Vector, ...] = (), late: bool = False
    ) -> Iterator[tuple[str, Reply, Message]]:
        """Sends one request per client, those to train with the vectors beside them, and yields the answers.

        Args:
          requests: client → what it is asked.
          vectors: what it trains on.
          late: whether the answers are known to come too late (:class:`Message`); simulations only.

        Yields:
          Client, decoded reply, and the message it came in. Clients that are lost, answer out of
          turn or report an error are recorded instead.

        Raises:
          RunError: a client reported an error and the exchange is strict.
        """
        self.trips += bool(requests)
        waiting = dict(requests)
        for answer in self._transport.exchange(
            self._messages(requests, vectors, late), deadline=self._deadline
        ):
            request = waiting.pop(answer.client, None)
            if isinstance(answer, Lost):
                self._lose(answer.client, request, answer.reason)
                continue
            self._count(answer.client, up=answer.size)
            reply = self._accepted(answer, request)
            if reply is not None:
                yield answer.client, reply, answer

    def _messages(
        self, requests: Mapping[str, Request], vectors: tuple[Vector, ...], late: bool
    ) -> Iterator[Message]:
        for client, request in requests.items():
            trains = isinstance(request, TrainRequest | SecureTrainRequest)
            if trains:
                self.asked_to_train.append(client)
            message = Message(
                client=client, body=encode(request), vectors=vectors if trains else (), late=late
            )
            self._count(client, down=message.size)
            yield message

    def _count(self, client: str, *, down: int = 0, up: int = 0) -> None:
        before = self.traffic.get(client, Traffic(0, 0))
        self.traffic[client] = Traffic(before.down + down, before.up + up)

    def _accepted(self, answer: Message, request: Request | None) -> Reply | None:
        """Returns the reply if it belongs here and is the first; else records why not and returns None."""
        if request is None:
            self.drop(answer.client, "unasked")
            return None
        try:
            reply = decode_reply(answer.body)
        except MalformedMessage as error:
            self._lose(answer.client, request, type(error).__name__)
            return None
        fault = self._fault_of(reply, request, answer.client)
        if fault:
            self._lose(answer.client, request, fault)
            return None
        if isinstance(reply, SecureReply) and reply.refusal:
            self._check_tolerated(answer.client, f"{reply.refusal} on the way to round {reply.round + 1}")
            self.miss(answer.client, reply.refusal)
        return reply

    def _fault_of(self, reply: Reply, request: Request, client: str) -> str:
        """Returns why a reply is no answer to the request; empty if it is one."""
        if isinstance(reply, Failure):
            self._check_tolerated(client, f"{reply.code}: {reply.detail or 'no detail given'}")
            return reply.code
        return "" if reply.run == self._run and reply.round in _rounds_of(request) else "stale"

    def _check_tolerated(self, client: str, error: str) -> None:
        if self._strict:
            raise RunError(f"client {client!r}: {error}")

    def _lose(self, client: str, request: Request | None, reason: str) -> None:
        rounds = (self.round,) if request is None else _rounds_of(request)
        if self.round in rounds:
            self.drop(client, reason)
        if self.round + 1 in rounds:
            self.miss(client, reason)


def _rounds_of(request: Request) -> tuple[int, ...]:
    """Returns the rounds that a request asks about: its own, and the next one if it prepares that too."""
    ahead = isinstance(request, SecureRequest) and request.ahead != b""
    return (request.round, request.round + 1) if ahead else (request.round,)
