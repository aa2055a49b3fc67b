"""Whole sessions, with the CPU time of clients and server told apart: what the model is held against."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fedlearn.secagg.parameters import parameters
from fedlearn.secagg.server import Step
from tests.bench.scale.model import Session
from tests.secagg.secagg_session import Federation, names_of


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a session took.

    Attributes:
      client_seconds: CPU seconds of a client that survived, the mean of each step.
      server_seconds: CPU seconds of the server.
      up: bytes that a surviving client sent.
      down: bytes that it was sent, without the model.
    """

    client_seconds: float
    server_seconds: float
    up: int
    down: int


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keeps Python from looking for garbage: here it would go through the objects of all parties at once."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def run(session: Session, *, colluders: int, dropout: float) -> Seen:
    """Runs a session; the first clients vanish before their masked input."""
    federation = Federation(
        session.clients,
        dimension=session.dimension,
        modulus_bits=8 * session.ring_bytes,
        agreed=parameters(session.clients, colluders=colluders, dropout=dropout),
    )
    names = names_of(session.clients)
    gone, last = frozenset(names[: session.lost]), names[-1]
    with _uncollected():
        return _timed(federation, gone, last)


def _timed(federation: Federation, gone: frozenset[str], last: str) -> Seen:
    """Runs the session of a federation in which some vanish; the last client's messages are measured."""
    clients = server = 0.0
    up = down = 0
    while not federation.server.finished:
        silent = gone if federation.server.step not in (Step.ADVERTISE, Step.SHARE) else frozenset()
        # The clock is read four times a step: reading it costs as much as a few signatures.
        started = time.thread_time()
        requests = federation.server.requests()
        requested = time.thread_time()
        asked = [name for name in requests if name not in silent]
        answers = {name: federation.answer(name, requests[name]) for name in asked}
        answered = time.thread_time()
        for name, answer in answers.items():
            federation.server.receive(name, *answer)
        federation.server.advance()
        server += time.thread_time() - answered + requested - started
        clients += (answered - requested) / len(asked)
        body, vector = answers[last]
        down += len(requests[last])
        up += len(body) + (0 if vector is None else vector.nbytes)
    return Seen(
        client_seconds=clients,
        server_seconds=server,
        up=up,
        down=down,
    )
