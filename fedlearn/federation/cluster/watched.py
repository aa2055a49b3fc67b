"""A transport whose losses are looked into: the end of a host ends the run, and is no dropout."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from fedlearn.rounds.transport import Lost, Message, Transport

DETECTION_SECONDS = 60.0
"""How long Ray may take to notice that a node is gone; its health checks allow half of it."""


class WatchedTransport:
    """Asks, whenever a client is lost, whether a host has ended.

    A round with fewer clients would give another model than the one without the accident, and Flower fails
    the messages of living clients, too, once a node is dead.

    Args:
      transport: carries the messages.
      check: raises if a host ends within so many seconds.
    """

    def __init__(self, transport: Transport, *, check: Callable[[float], None]) -> None:
        self._transport = transport
        self._check = check

    def exchange(
        self, requests: Iterable[Message], *, deadline: float | None = None
    ) -> Iterator[Message | Lost]:
        """Yields the transport's answers; where one is lost, but for the deadline, ``check`` may raise."""
        for answer in self._transport.exchange(requests, deadline=deadline):
            if isinstance(answer, Lost) and answer.reason != "timeout":
                self._check(DETECTION_SECONDS)
            yield answer
