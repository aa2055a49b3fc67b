"""One worker: takes orders, lets its clients answer in turn, and adds up what may be added up."""

from __future__ import annotations

import gc
import os
import signal
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from fedlearn._types import Vector
from fedlearn.rounds.messages import decode_request
from fedlearn.rounds.transport import Message
from fedlearn.simulation.workers.adding import Adder
from fedlearn.simulation.workers.frames import (
    Answer,
    Answers,
    Order,
    Place,
    Raised,
    Stop,
    receive_order,
    send,
)
from fedlearn.simulation.workers.memory import keep_freed_memory
from fedlearn.stopwatch import timed

SLOTS = 2
"""Vectors that a worker may have under way: it trains on while the other side reads."""

IDLE = -1


class Answering(Protocol):
    """Clients, as a worker sees them."""

    def answer(self, request: Message) -> Message:
        """Returns the reply, or raises what went wrong."""
        ...


@dataclass(frozen=True, kw_only=True)
class Desk:
    """What a worker and its pool share.

    Attributes:
      connection: orders in, answers out.
      credits: gives one byte for each vector that was read from its slot.
      params: the global vector, shape (d,), float32, read-only for the worker.
      slots: vectors on their way to the server, shape (SLOTS, d · 8), bytes.
      at: position in the current order of the client that is being served, or IDLE; shape (1,).
      stop: 1 once the pool wants the worker to end at the next client; shape (1,).
      adder: the worker's sum; None where the server must see every vector.
    """

    connection: Connection
    credits: int
    params: Vector
    slots: NDArray[np.uint8]
    at: NDArray[np.int64]
    stop: NDArray[np.int64]
    adder: Adder | None


class Worker:
    """Serves orders until it is told to stop or its pool is gone.

    Args:
      desk: what it shares with the pool.
      clients: who answers.
    """

    def __init__(self, desk: Desk, clients: Answering) -> None:
        self._desk = desk
        self._clients = clients
        self._written = 0
        self._params = desk.params.view()
        self._params.flags.writeable = False

    def run(self) -> None:
        """Serves orders; what a client raises ends the worker, after it was reported."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        torch.set_num_threads(1)
        keep_freed_memory()
        # What was there before the fork stays: a search for garbage would only copy its pages.
        gc.freeze()
        try:
            while not isinstance(order := receive_order(self._desk.connection), Stop):
                if isinstance(order, Order):
                    if not self._serve(order):
                        return
                elif self._desk.adder is not None:
                    send(self._desk.connection, self._desk.adder.write())
        except (EOFError, OSError):
            # The pool is gone: there is nobody to tell.
            return

    def _serve(self, order: Order) -> bool:
        """Answers an order; returns whether the worker goes on."""
        answers: list[Answer] = []
        for position, client in enumerate(order.clients):
            if self._desk.stop[0]:
                return False
            self._desk.at[0] = position
            body = order.bodies[position if len(order.bodies) > 1 else 0]
            try:
                request = Message(client=client, body=body, vectors=self._given(order), late=order.late)
                answer = self._answer(request)
            except EOFError:
                raise
            except Exception as error:
                self._report(client, error)
                return False
            answers.append(answer)
            if answer.places:
                send(self._desk.connection, Answers(answers, last=position + 1 == len(order.clients)))
                answers = []
        self._desk.at[0] = IDLE
        if answers:
            send(self._desk.connection, Answers(answers, last=True))
        return True

    def _given(self, order: Order) -> tuple[Vector, ...]:
        return (self._params,) if order.trains else ()

    def _answer(self, request: Message) -> Answer:
        reply = self._clients.answer(request)
        if request.late:
            return Answer(reply.client, reply.body)
        if len(reply.vectors) == 1 and self._added(request, reply.vectors[0]):
            return Answer(reply.client, reply.body, added=reply.vectors[0].nbytes)
        return Answer(reply.client, reply.body, places=tuple(map(self._placed, reply.vectors)))

    def _added(self, request: Message, vector: NDArray[Any]) -> bool:
        """Adds a vector up here, if that is for this worker to do; returns whether it was."""
        adder, asked = self._desk.adder, decode_request(request.body)
        return (
            adder is not None
            and asked.run == adder.run
            and adder.add(request.client, vector, round=asked.round)
        )

    def _placed(self, vector: NDArray[Any]) -> Place:
        """Writes a vector where the pool finds it; waits until the pool has read the one that was there."""
        slot = self._written % SLOTS
        if self._written >= SLOTS and not self._slot_was_read():
            raise EOFError
        self._written += 1
        np.copyto(self._desk.slots[slot, : vector.nbytes].view(vector.dtype), vector)
        return Place(slot, vector.dtype.str, vector.size)

    @timed("waiting")
    def _slot_was_read(self) -> bool:
        """Waits until the pool has read a slot; False if there is no pool any more."""
        return os.read(self._desk.credits, 1) != b""

    def _report(self, client: str, error: Exception) -> None:
        trace = "".join(traceback.format_exception(error))
        send(self._desk.connection, Raised(client, type(error).__name__, str(error), trace))
