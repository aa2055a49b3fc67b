"""The engine of a simulation: in this process as long as that is quick, then one worker per core."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from fedlearn.errors import ConfigError
from fedlearn.experiment.enrolment import Enrolment
from fedlearn.experiment.setup import RunSetup
from fedlearn.privacy.account import Account
from fedlearn.privacy.ledger import Ledger
from fedlearn.rounds.messages import decode_request
from fedlearn.rounds.transport import Lost, Message, Transport
from fedlearn.simulation.inprocess import InProcess, reaching_of
from fedlearn.simulation.residents import Residents
from fedlearn.simulation.workers import WorkerPool
from fedlearn.simulation.workers.adding import adder_for
from fedlearn.simulation.workers.memory import shared_array

_WORTH_FORKING = 1.0
"""Seconds of training that are still to come, above which workers pay for themselves."""


class Engine:
    """The transport of a simulated run; ends its workers when it is closed.

    Args:
      setup: what the parties of the run agree on.
      enrolment: the clients' keys.
      accounts: what their records have spent before the run was taken up; None: nothing.
      ledgers: each client's ledger; with them the clients live in this process.
      workers: number of worker processes; 1 stays in this process; None decides by how long the first
        rounds took, and takes one worker per core.

    Raises:
      ConfigError: fewer than one worker, or a platform that cannot fork.
    """

    def __init__(
        self,
        setup: RunSetup,
        enrolment: Enrolment,
        accounts: Mapping[str, Account] | None = None,
        *,
        ledgers: Mapping[str, Ledger] | None = None,
        workers: int | None = None,
    ) -> None:
        if ledgers and workers not in (None, 1):
            raise ConfigError(f"--workers {workers}: a ledger is written by one process; leave it out")
        workers = 1 if ledgers else workers
        self._setup = setup
        private = setup.experiment.config.privacy.enabled
        charges = shared_array(len(setup.experiment.population.clients) if private else 0, "<i8")
        self.clients = Residents(setup, enrolment, accounts or {}, charges, ledgers)
        self._here = InProcess(self.clients, reaching=reaching_of(setup))
        self._undecided = workers is None and cores() > 1
        self._pool = self._workers(workers) if workers is not None and workers != 1 else None

    def exchange(
        self, requests: Iterable[Message], *, deadline: float | None = None
    ) -> Iterator[Message | Lost]:
        """Yields answers as they come; the deadline never strikes."""
        given = list(requests)
        if given and decode_request(given[0].body).run != self._setup.run:
            # A release before the first round: answered here, before workers are forked that know of it.
            yield from self._here.exchange(given)
        elif self._undecided:
            yield from self._timed(given)
        else:
            yield from self._transport.exchange(given, deadline=deadline)

    def partial_sums(self) -> Iterable[Any]:
        """Yields what the workers have added up."""
        return () if self._pool is None else self._pool.partial_sums()

    def close(self) -> None:
        """Ends the workers."""
        if self._pool is not None:
            self._pool.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def _transport(self) -> Transport:
        return self._here if self._pool is None else self._pool

    def _timed(self, requests: list[Message]) -> Iterator[Message | Lost]:
        """Answers here, and decides from the time that training takes who answers from now on."""
        started, waited = time.perf_counter(), 0.0
        for answer in self._here.exchange(requests):
            paused = time.perf_counter()
            yield answer
            waited += time.perf_counter() - paused
        trained = next((request for request in requests if request.vectors), None)
        if trained is not None:
            left = self._setup.experiment.config.rounds - 1 - decode_request(trained.body).round
            if left * (time.perf_counter() - started - waited) > _WORTH_FORKING:
                self._undecided, self._pool = False, self._workers(cores())

    def _workers(self, workers: int) -> WorkerPool:
        setup = self._setup
        clients = setup.experiment.population.clients
        adders = [adder_for(setup) for _ in range(workers)]
        return WorkerPool(
            self.clients,
            dimension=setup.request_length(self.clients.workbench.model),
            workers=workers,
            adders=[adder for adder in adders if adder is not None],
            size_of=lambda client: clients[client].declared_size,
            sticky=setup.statistics is not None
            or (setup.secure is not None and setup.secure.mode == "masked"),
            reaching=reaching_of(setup),
        )


def cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def one_thread() -> Iterator[None]:
    """Lets torch compute with one thread, as in a worker: with more, the last bits depend on their number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
