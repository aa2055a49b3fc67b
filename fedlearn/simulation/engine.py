"""The engine of a simulation: in this process as long as that is quick, then one worker per core."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch

from fedlearn.crypto.shared_answers import ROW_BYTES, SharedAnswers, sharing
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
from fedlearn.training.devices import any_open, devices_of

_WORTH_FORKING = 1.0
"""Seconds of training that are still to come, above which workers pay for themselves."""

_MOST_ANSWERS = 1 << 17
"""Answers that the clients of a masked run share at most, 12 MB."""


class Engine:
    """The transport of a simulated run; ends its workers when it is closed.

    Inside ``with`` the parties of a masked run share what is the same for several of them: what both
    ends of a pair agree on, and whether a signature verifies.

    Args:
      setup: what the parties of the run agree on.
      enrolment: the clients' keys.
      accounts: what their records have spent before the run was taken up; None: nothing.
      ledgers: each client's ledger; with them the clients live in this process.
      workers: number of worker processes; 1 stays in this process; None decides by how long the first
        rounds took, and takes one worker per core.

    Raises:
      ConfigError: fewer than one worker, a platform that cannot fork, or a GPU that is not there.
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
        self._setup = setup
        self._devices = devices_of(setup.experiment.config.devices)
        # What clients keep in this process, its workers would not see.
        alone = bool(ledgers) or (setup.keeps and not setup.memory.everywhere)
        workers = 1 if alone else self._number_of(workers)
        private = setup.experiment.config.privacy.enabled
        charges = shared_array(len(setup.experiment.population.clients) if private else 0, "<i8")
        self.clients = Residents(setup, enrolment, accounts or {}, charges, ledgers)
        self.clients.settle(self._devices[0])
        self._here = InProcess(self.clients, reaching=reaching_of(setup))
        self._answers = _answers_for(setup)
        self._open = ExitStack()
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

    @property
    def worker_seconds(self) -> Mapping[str, Iterable[float]]:
        """What each worker's stopwatch has counted, by its name; complete once the engine is closed."""
        counted = () if self._pool is None else self._pool.seconds
        return {f"worker {number}": seconds for number, seconds in enumerate(counted)}

    def close(self) -> None:
        """Ends the workers."""
        if self._pool is not None:
            self._pool.close()
        self._open.close()

    def __enter__(self) -> Engine:
        self._open.enter_context(sharing(self._answers))
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
        if self._devices[0].is_gpu and any_open():
            raise ConfigError(
                "this process has opened a GPU already, and workers that are forked from it could not: run"
                " with workers=1, or before anything else touches CUDA"
            )
        clients = setup.experiment.population.clients
        adders = [adder_for(setup) for _ in range(workers)]
        return WorkerPool(
            self.clients,
            dimension=setup.request_length(self.clients.workbench.model),
            workers=workers,
            adders=[adder for adder in adders if adder is not None],
            size_of=lambda client: clients[client].declared_size,
            sticky=self._sticky,
            reaching=reaching_of(setup),
            begin=lambda worker: self.clients.settle(self._devices[worker % len(self._devices)]),
        )

    def _number_of(self, workers: int | None) -> int | None:
        """Returns the number of workers: as asked; on GPUs all that they take; None: yet to be decided."""
        if workers is not None or not self._devices[0].is_gpu:
            return workers
        return len(self._devices) * self._setup.experiment.config.devices.clients_per_gpu

    @property
    def _sticky(self) -> bool:
        """Whether a client stays with one worker: for its sessions, or so that one GPU alone has its data."""
        setup = self._setup
        masked = setup.secure is not None and setup.secure.mode == "masked"
        return masked or setup.statistics is not None or self._devices[0].is_gpu


def _answers_for(setup: RunSetup) -> SharedAnswers | None:
    """Returns what the clients of a masked run share: room for a session's pairs, each of two keys, twice."""
    if setup.secure is None or setup.secure.mode != "masked":
        return None
    parameters = setup.secure.parameters
    rows = min(4 * parameters.clients * parameters.neighbours, _MOST_ANSWERS)
    return SharedAnswers(shared_array((rows, ROW_BYTES), np.uint8))


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
