"""The pool: deals requests to workers and passes their answers on; the transport of large simulations."""

from __future__ import annotations

import multiprocessing
import os
import signal
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import product
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from fedlearn import errors
from fedlearn._types import Vector
from fedlearn.errors import ConfigError, FedLearnError, RunError, WorkerLost
from fedlearn.rounds.transport import Lost, Message
from fedlearn.simulation.workers.adding import Adder
from fedlearn.simulation.workers.dealing import Dealer, SizeOf
from fedlearn.simulation.workers.frames import (
    Answer,
    Answers,
    Collect,
    Order,
    Raised,
    Stop,
    Sum,
    receive_answer,
    send,
)
from fedlearn.simulation.workers.memory import shared_array
from fedlearn.simulation.workers.worker import SLOTS, Answering, Desk, Worker
from fedlearn.stopwatch import PHASES, is_running, phase, running

Reaching = Callable[[Message], Message | None]
"""What of a request reaches its client; None if nothing does: the simulated fault."""

_PATIENCE = 5.0
"""Seconds that a worker gets to end by itself."""


Frame = TypeVar("Frame", Answers, Sum)


class Clients(Answering, Protocol):
    """The clients of a run, as a pool sees them."""

    def __contains__(self, client: object) -> bool: ...


@dataclass(kw_only=True, eq=False)
class _Seat:
    """One worker, as the pool sees it."""

    connection: Connection
    credits: int
    desk: Desk
    process: BaseProcess | None = None
    orders: deque[list[str]] = field(default_factory=deque)


class WorkerPool:
    """Answers the requests of a run in worker processes; an :class:`Adding` transport.

    Guarantee: the model does not depend on the number of workers, bit for bit: sums are exact, and
    everything a client draws is decided by its id, the round and the seed, or is secret.

    The workers are forked at the first exchange. They have whatever the process had then, the
    clients and their data included, without a copy. A worker that ends before its time takes the run with it;
    the checkpoint stays.

    Args:
      clients: who answers; each worker makes those that it is dealt.
      dimension: length of the global vector: parameters, and constants behind them, if any.
      workers: number of processes, at least 1.
      adders: how each worker adds up; empty moves every vector.
      size_of: public measure of how long a client takes.
      sticky: whether a client must stay with one worker, because it remembers its sessions.
      reaching: the simulated fault.
      begin: called in each worker with its number, before it serves anyone.

    Attributes:
      seconds: what each worker's stopwatch has counted, shape (workers, phases); zeros where the process that
        forks them has none.

    Raises:
      ConfigError: fewer than one worker, or a platform that cannot fork.
    """

    def __init__(
        self,
        clients: Clients,
        *,
        dimension: int,
        workers: int,
        adders: Sequence[Adder] = (),
        size_of: SizeOf = lambda client: 1.0,
        sticky: bool = False,
        reaching: Reaching = lambda request: request,
        begin: Callable[[int], None] = lambda worker: None,
    ) -> None:
        if workers < 1:
            raise ConfigError(f"workers={workers} must be at least 1")
        if "fork" not in multiprocessing.get_all_start_methods():
            raise ConfigError(f"workers={workers} need a system that can fork; use --workers 1")
        self._clients = clients
        self._size_of = size_of
        self._homes: dict[str, int] | None = {} if sticky else None
        self._reaching = reaching
        self._begin_worker = begin
        self._params: Vector = shared_array(dimension, np.float32)
        self._adders = list(adders)
        self._seats = [self._seat(worker, dimension) for worker in range(workers)]
        self.seconds: NDArray[np.float64] = shared_array((workers, len(PHASES)), np.float64)
        self._forked = False
        self._closed = False

    def _seat(self, worker: int, dimension: int) -> _Seat:
        ours, theirs = multiprocessing.Pipe()
        read, write = os.pipe()
        desk = Desk(
            connection=theirs,
            credits=read,
            params=self._params,
            slots=shared_array((SLOTS, 8 * dimension), np.uint8),
            at=shared_array(1, np.int64),
            stop=shared_array(1, np.int64),
            adder=self._adders[worker] if self._adders else None,
        )
        return _Seat(connection=ours, credits=write, desk=desk)

    def exchange(
        self, requests: Iterable[Message], *, deadline: float | None = None
    ) -> Iterator[Message | Lost]:
        """Yields answers as workers give them; the deadline never strikes.

        A request's vector must be the same for all clients that get one: the global vector of a round.

        Raises:
          FedLearnError: what a client raised.
          WorkerLost: a worker ended; names the client that it was serving.
        """
        self._begin()
        reached = []
        for request in requests:
            if request.client not in self._clients:
                yield Lost(client=request.client, reason="unreachable")
            elif (message := self._reaching(request)) is None:
                yield Lost(client=request.client, reason="dropout")
            else:
                reached.append(message)
        self._publish(reached)
        dealer = Dealer(reached, size_of=self._size_of, workers=len(self._seats), homes=self._homes)
        for _ in range(dealer.ahead):
            for worker in range(len(self._seats)):
                self._order(worker, dealer)
        while any(seat.orders for seat in self._seats):
            for worker, answers in self._ready():
                if answers.last:
                    self._order(worker, dealer)
                for answer in answers.answers:
                    yield self._message(self._seats[worker], answer)

    def partial_sums(self) -> Iterator[Any]:
        """Yields each worker's sum of what it has added since the last call; no worker may be busy."""
        if not self._adders or not self._forked:
            return
        for seat in self._seats:
            send(seat.connection, Collect())
        for seat, adder in zip(self._seats, self._adders, strict=True):
            frame = self._received(seat, Sum)
            if frame.count:
                yield adder.read(frame)

    def close(self) -> None:
        """Ends the workers, each at its next client."""
        if self._closed:
            return
        self._closed = True
        for seat in self._seats:
            seat.desk.stop[0] = 1
            with suppress(OSError):
                send(seat.connection, Stop())
            seat.connection.close()
            os.close(seat.credits)
        if self._forked:
            for seat in self._seats:
                self._join(seat)
        else:
            self._close_desks()

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _begin(self) -> None:
        """Forks the workers at first; later, throws away what an exchange that was broken off has left."""
        if self._closed:
            raise RunError("the workers have ended; a pool serves one run")
        if not self._forked:
            self._fork()
        left = False
        while any(seat.orders for seat in self._seats):
            left = True
            for worker, answers in self._ready():
                for answer in answers.answers:
                    self._message(self._seats[worker], answer)
        if left:
            for _ in self.partial_sums():
                pass

    def _fork(self) -> None:
        context = multiprocessing.get_context("fork")
        for seat in self._seats:
            seat.process = context.Process(target=self._work, args=(seat,), daemon=True)
            with warnings.catch_warnings():
                # A worker runs with one thread and takes no lock of another thread: it imports nothing
                # and logs nothing before it has set up its own.
                warnings.simplefilter("ignore", DeprecationWarning)
                seat.process.start()
        self._close_desks()
        self._forked = True

    def _work(self, own: _Seat) -> None:
        # What is not this worker's must be closed, or it would not see its pool end.
        for seat in self._seats:
            seat.connection.close()
            os.close(seat.credits)
            if seat is not own:
                seat.desk.connection.close()
                os.close(seat.desk.credits)
        number = self._seats.index(own)
        self._begin_worker(number)
        worker = Worker(own.desk, self._clients)
        if is_running():
            with running(self.seconds[number]):
                worker.run()
        else:
            worker.run()

    def _close_desks(self) -> None:
        for seat in self._seats:
            seat.desk.connection.close()
            os.close(seat.desk.credits)

    def _publish(self, requests: Iterable[Message]) -> None:
        vector = None
        for request in requests:
            for given in request.vectors:
                if vector is None:
                    vector = given
                    np.copyto(self._params, given)
                elif given is not vector:
                    raise RunError(f"client {request.client!r} is sent another vector than the first client")

    def _order(self, worker: int, dealer: Dealer) -> None:
        """Sends a worker its next requests; those with the global vector, and late ones, apart."""
        seat, requests = self._seats[worker], dealer.next_for(worker)
        for trains, late in product((False, True), repeat=2):
            chosen = [r for r in requests if (bool(r.vectors), r.late) == (trains, late)]
            if chosen:
                clients, bodies = [r.client for r in chosen], [r.body for r in chosen]
                if all(body == bodies[0] for body in bodies):
                    bodies = bodies[:1]
                seat.orders.append(clients)
                self._send(seat, Order(clients, bodies, trains, late))

    def _send(self, seat: _Seat, order: Order) -> None:
        try:
            send(seat.connection, order)
        except OSError:
            # It ended: what it said last is still to be read, and explains it.
            while True:
                self._received(seat, Answers)

    def _ready(self) -> Iterator[tuple[int, Answers]]:
        busy = {seat.connection: worker for worker, seat in enumerate(self._seats) if seat.orders}
        with phase("waiting"):
            ready = wait(list(busy))
        for connection in ready:
            worker = busy[connection]  # type: ignore[index]  # wait returns what it was given
            frame = self._received(self._seats[worker], Answers)
            if frame.last:
                self._seats[worker].orders.popleft()
            yield worker, frame

    def _received(self, seat: _Seat, kind: type[Frame]) -> Frame:
        try:
            frame = receive_answer(seat.connection)
        except (EOFError, OSError):
            raise self._lost(seat) from None
        if isinstance(frame, Raised):
            raise _error_of(frame)
        if not isinstance(frame, kind):
            raise RunError(f"a worker sent {type(frame).__name__} where {kind.__name__} is due")
        return frame

    def _message(self, seat: _Seat, answer: Answer) -> Message:
        vectors = []
        for place in answer.places:
            dtype = np.dtype(place.dtype)
            vectors.append(seat.desk.slots[place.slot, : place.length * dtype.itemsize].view(dtype).copy())
            os.write(seat.credits, b"\0")
        return Message(client=answer.client, body=answer.body, vectors=tuple(vectors), added=answer.added)

    def _lost(self, seat: _Seat) -> WorkerLost:
        self._join(seat)
        code = seat.process.exitcode if seat.process is not None else None
        how = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
        at, worker = int(seat.desk.at[0]), self._seats.index(seat)
        client = seat.orders[0][at] if seat.orders and 0 <= at < len(seat.orders[0]) else None
        whose = "" if client is None else f" while it served client {client!r}"
        return WorkerLost(
            f"worker {worker} ended by {how}{whose}; the checkpoint is kept: go on with --resume."
            " If memory ran out, lower --workers or training.batch_size"
        )

    def _join(self, seat: _Seat) -> None:
        if seat.process is not None:
            seat.process.join(_PATIENCE)
            if seat.process.is_alive():
                seat.process.terminate()
                seat.process.join()


class _RaisedInWorker(Exception):
    """Carries the traceback of a worker into this process's."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _error_of(frame: Raised) -> FedLearnError:
    """Returns the client's error; one of a foreign kind as a RunError that names it."""
    kind = getattr(errors, frame.kind, None)
    if isinstance(kind, type) and issubclass(kind, FedLearnError):
        error: FedLearnError = kind(frame.line)
    else:
        error = RunError(f"client {frame.client!r}: {frame.kind}: {frame.line}")
    error.__cause__ = _RaisedInWorker(frame.trace)
    return error
