"""Which worker trains which client: longest first, and who is done takes the next."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping

from fedlearn.rounds.transport import Message

SizeOf = Callable[[str], float]
"""Client id → public measure of how long it trains: its declared size."""

_MOST_CLIENTS = 256
"""Clients in an order: it then fits into the buffer of a pipe, so that nobody waits to get rid of it."""


class Dealer:
    """Deals the requests of one exchange to workers.

    Requests are sorted longest first. A worker gets a share of what is left each time it asks, less and
    less, so that all end together whatever their speed (guided self-scheduling, Polychronopoulos
    and Kuck 1987).

    Args:
      requests: at most one per client.
      size_of: how long each client takes, in any unit.
      workers: number of workers.
      homes: client → worker, of clients that must stay where they are; None deals every client
        anew. Clients that have no home yet get one.

    Attributes:
      ahead: orders that a worker holds. Two, if they are short: while it works on one, the next is there
        already. One, if each request has a long body of its own: a worker that reads no order while
        it writes its answers would block whoever sends it another.
    """

    def __init__(
        self,
        requests: Iterable[Message],
        *,
        size_of: SizeOf,
        workers: int,
        homes: dict[str, int] | None = None,
    ) -> None:
        ordered = sorted(requests, key=lambda request: -size_of(request.client))
        self.ahead = 2 if len({request.body for request in ordered}) <= 1 else 1
        self._workers = workers
        self._common: deque[Message] = deque()
        self._own: list[deque[Message]] = [deque() for _ in range(workers)]
        if homes is None:
            self._common.extend(ordered)
        else:
            settle([request.client for request in ordered], size_of, workers, homes)
            for request in ordered:
                self._own[homes[request.client]].append(request)

    def next_for(self, worker: int) -> list[Message]:
        """Returns the worker's next requests; empty if there is nothing more for it."""
        own = self._own[worker]
        if own:
            share = min(-(-len(own) // self.ahead), _MOST_CLIENTS)
            return [own.popleft() for _ in range(share)]
        share = min(-(-len(self._common) // (2 * self._workers)), _MOST_CLIENTS)
        return [self._common.popleft() for _ in range(share)]


def settle(clients: Iterable[str], size_of: SizeOf, workers: int, homes: dict[str, int]) -> Mapping[str, int]:
    """Gives each client without a home one: that of the worker with the least to do so far.

    >>> settle(["a", "b", "c"], {"a": 3, "b": 2, "c": 2}.__getitem__, 2, {})
    {'a': 0, 'b': 1, 'c': 1}
    """
    clients = list(clients)
    load = [0.0] * workers
    for client in clients:
        if client in homes:
            load[homes[client]] += size_of(client)
    for client in clients:
        if client not in homes:
            homes[client] = min(range(workers), key=load.__getitem__)
            load[homes[client]] += size_of(client)
    return homes
