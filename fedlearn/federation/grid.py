"""Any Flower ``Grid`` as the transport of a round.

Replies are polled for here and yielded one by one: Flower's own ``send_and_receive`` returns when
the last has come, so that a server would hold a cohort of vectors.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from flwr.app import Message as FlowerMessage
from flwr.app import MessageType

from fedlearn._validate import positive
from fedlearn.errors import MalformedMessage, RunError
from fedlearn.federation.records import ArrayCache, Errand, decode_reply, encode_errand
from fedlearn.rounds.transport import Lost, Message

EXPIRY_SLACK_SECONDS = 60.0

_log = logging.getLogger(__name__)


@dataclass
class _Step:
    """The messages of one exchange: not yet sent, and sent but not answered (message id → client)."""

    waiting: Iterator[Message]
    end: float
    unanswered: dict[str, str] = field(default_factory=dict)
    exhausted: bool = False

    @property
    def over(self) -> bool:
        return self.exhausted and not self.unanswered


def check_flower() -> None:
    """Raises RunError if Flower, which runs in the main thread of a simulation, has stopped."""
    if not threading.main_thread().is_alive():
        raise RunError("Flower stopped while a round was going on; its log says why")


class GridTransport:
    """Carries messages over a Flower ``Grid``; any of its nodes serves any client.

    Node ids are Flower's and random; they stay in here. Messages go to the nodes in turn, at most
    ``in_flight`` at a time, so that what Flower holds does not grow with the cohort.

    Args:
      grid: Flower's grid.
      addresses: client id → socket of its resident process; empty where each node knows its own.
      route: client id → its node, or None while that is not connected; by default any node serves
        any client.
      in_flight: how many requests may be unanswered at once.
      poll_seconds: how long to pause when nothing has arrived.
      node_seconds: how long to wait for a first node.
      check: raises RunError when waiting has become useless; called before each pause.
      clock: seconds since anything.
      sleep: pauses for some seconds.
    """

    def __init__(
        self,
        grid: Any,
        *,
        addresses: Mapping[str, str],
        route: Callable[[str], int | None] | None = None,
        in_flight: int = 32,
        poll_seconds: float = 0.1,
        node_seconds: float = 60.0,
        check: Callable[[], None] = check_flower,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        positive(in_flight=in_flight, poll_seconds=poll_seconds, node_seconds=node_seconds)
        self._grid = grid
        self._addresses = dict(addresses)
        self._route = route
        self._in_flight = in_flight
        self._poll_seconds = poll_seconds
        self._node_seconds = node_seconds
        self._check = check
        self._clock = clock
        self._sleep = sleep
        self._cache = ArrayCache()
        self._turn = 0
        self._abandoned: set[str] = set()

    def exchange(
        self, requests: Iterable[Message], *, deadline: float | None = None
    ) -> Generator[Message | Lost, None, None]:
        """Sends every request and yields one answer per request, in order of arrival.

        Args:
          requests: at most one per client; taken from the iterable as they are sent.
          deadline: seconds after which clients that have not answered are lost; None waits.

        Raises:
          RunError: no node is there within ``node_seconds``, or what ``check`` raises.
        """
        nodes = self._nodes() if self._route is None else []
        step = _Step(waiting=iter(requests), end=self._clock() + (math.inf if deadline is None else deadline))
        try:
            while not step.over:
                yield from self._send(step, nodes)
                arrived = yield from self._collect(step)
                if self._clock() >= step.end:
                    yield from self._give_up(step)
                elif not arrived and not step.over:
                    self._pause()
        finally:
            self._abandoned.update(step.unanswered)

    def _nodes(self) -> list[int]:
        end = self._clock() + self._node_seconds
        while not (nodes := sorted(self._grid.get_node_ids())):
            if self._clock() >= end:
                raise RunError(
                    f"no Flower node was there after {self._node_seconds:g} s;"
                    " check `flwr supernode ls` and, in a simulation, num-supernodes"
                )
            self._pause()
        return nodes

    def _pause(self) -> None:
        self._check()
        self._sleep(self._poll_seconds)

    def _send(self, step: _Step, nodes: list[int]) -> Iterator[Lost]:
        while not step.exhausted and len(step.unanswered) < self._in_flight:
            request = next(step.waiting, None)
            if request is None:
                step.exhausted = True
                return
            message_id = self._push(request, nodes, seconds=max(step.end - self._clock(), self._poll_seconds))
            if message_id is None:
                yield Lost(client=request.client, reason="unreachable")
            else:
                step.unanswered[message_id] = request.client

    def _push(self, request: Message, nodes: list[int], *, seconds: float) -> str | None:
        """Sends one request to the node whose turn it is; returns its message id, None if refused."""
        node = self._node_of(request.client, nodes)
        if node is None:
            return None
        address = self._addresses.get(request.client, "")
        content = encode_errand(Errand(message=request, address=address, seconds=seconds), cache=self._cache)
        expires = None if math.isinf(seconds) else seconds + EXPIRY_SLACK_SECONDS
        message = FlowerMessage(content, node, MessageType.QUERY, ttl=expires)
        # One by one: of a batch, some grids leave out the ids of those that were refused.
        ids = list(self._grid.push_messages([message]))
        return ids[0] if ids and ids[0] else None

    def _node_of(self, client: str, nodes: list[int]) -> int | None:
        if self._route is not None:
            return self._route(client)
        self._turn += 1
        return nodes[(self._turn - 1) % len(nodes)]

    def _collect(self, step: _Step) -> Generator[Message | Lost, None, bool]:
        """Yields the answers that have arrived; returns whether there were any."""
        wanted = [*step.unanswered, *self._abandoned]
        arrived = False
        for reply in self._grid.pull_messages(wanted) if wanted else ():
            message_id = reply.metadata.reply_to_message_id
            self._abandoned.discard(message_id)  # a late reply: fetched so that Flower forgets it
            client = step.unanswered.pop(message_id, None)
            if client is not None:
                arrived = True
                yield _answer(client, reply)
        return arrived

    def _give_up(self, step: _Step) -> Iterator[Lost]:
        lost = [*step.unanswered.values()]
        self._abandoned.update(step.unanswered)
        step.unanswered.clear()
        for client in lost:
            yield Lost(client=client, reason="timeout")
        for request in step.waiting:
            yield Lost(client=request.client, reason="timeout")
        step.exhausted = True


def _answer(client: str, reply: Any) -> Message | Lost:
    """Returns what a reply to a client's request says; nonsense and error replies are losses."""
    lost = Lost(client=client, reason="failed")
    if reply.has_error():
        _log.warning("client %r: Flower reports error %s: %s", client, reply.error.code, reply.error.reason)
        return lost
    try:
        answer = decode_reply(reply.content)
    except MalformedMessage as error:
        _log.warning("client %r: %s", client, error)
        return lost
    if answer.client != client:
        _log.warning("client %r: the reply names client %r", client, answer.client)
        return lost
    return answer
