"""The bookkeeping of one round's messages: who answered, who is lost and why, how many bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fedlearn._types import Vector
from fedlearn.errors import MalformedMessage, RunError
from fedlearn.rounds.messages import (
    Failure,
    Reply,
    Request,
    SecureTrainRequest,
    TrainRequest,
    decode_reply,
    encode,
)
from fedlearn.rounds.transport import Lost, Message, Transport


class Exchange:
    """Sends the requests of one round and yields the replies that are well-formed and belong to it.

    Args:
      transport: carries the messages.
      run: the run's id; replies of another are dropped.
      round: round, counted from 0; replies of another are dropped.
      deadline: seconds to wait for the answers of one step; None waits.
      strict: raise RunError when a client reports an error.

    Attributes:
      dropped: client → coarse reason, in the order in which they were found.
      asked_to_train: the clients that were sent the model, in order.
      bytes_up: bytes received.
      bytes_down: bytes sent.
    """

    def __init__(
        self, transport: Transport, *, run: str, round: int, deadline: float | None, strict: bool
    ) -> None:
        self.round = round
        self.dropped: dict[str, str] = {}
        self.asked_to_train: list[str] = []
        self.bytes_up = 0
        self.bytes_down = 0
        self._transport = transport
        self._run = run
        self._deadline = deadline
        self._strict = strict

    def drop(self, client: str, reason: str) -> None:
        """Records a client as a dropout; the first reason stays."""
        self.dropped.setdefault(client, reason)

    def send(
        self, requests: Mapping[str, Request], *, vectors: tuple[Vector, ...] = ()
    ) -> Iterator[tuple[str, Reply, Message]]:
        """Sends one request per client, each with the same vectors beside it, and yields the answers.

        Yields:
          Client, decoded reply, and the message it came in. Clients that are lost, answer out of
          turn or report an error are recorded as dropouts instead.

        Raises:
          RunError: a client reported an error and the exchange is strict.
        """
        waiting = set(requests)
        for answer in self._transport.exchange(self._messages(requests, vectors), deadline=self._deadline):
            if isinstance(answer, Lost):
                self.drop(answer.client, answer.reason)
                continue
            self.bytes_up += answer.size
            reply = self._accepted(answer, waiting)
            waiting.discard(answer.client)
            if reply is not None:
                yield answer.client, reply, answer

    def _messages(self, requests: Mapping[str, Request], vectors: tuple[Vector, ...]) -> Iterator[Message]:
        for client, request in requests.items():
            if isinstance(request, TrainRequest | SecureTrainRequest):
                self.asked_to_train.append(client)
            message = Message(client=client, body=encode(request), vectors=vectors)
            self.bytes_down += message.size
            yield message

    def _accepted(self, answer: Message, waiting: set[str]) -> Reply | None:
        """Returns the reply if it belongs here and is the first; else records why not and returns None."""
        if answer.client not in waiting:
            self.drop(answer.client, "unasked")
            return None
        try:
            reply = decode_reply(answer.body)
        except MalformedMessage:
            self.drop(answer.client, "MalformedMessage")
            return None
        if isinstance(reply, Failure):
            if self._strict:
                raise RunError(f"client {answer.client!r}: {reply.code}: {reply.detail or 'no detail given'}")
            self.drop(answer.client, reply.code)
            return None
        if reply.run != self._run or reply.round != self.round:
            self.drop(answer.client, "stale")
            return None
        return reply
