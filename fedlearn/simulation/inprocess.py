"""Messages as function calls: the transport of a simulation in one process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Protocol

from fedlearn.experiment.enrolment import Enrolment
from fedlearn.experiment.setup import RunSetup
from fedlearn.privacy.account import Account
from fedlearn.privacy.ledger import Ledger
from fedlearn.rounds.transport import Lost, Message
from fedlearn.simulation.faults import Dropouts, schedule_of
from fedlearn.simulation.residents import Residents

Reaching = Callable[[Message], Message | None]
"""What of a request reaches its client; None if the client is gone."""


class Answering(Protocol):
    """The clients of a run, as a transport sees them."""

    def __contains__(self, client: object) -> bool: ...

    def answer(self, request: Message) -> Message:
        """Returns the addressee's reply, or raises what went wrong."""
        ...


class InProcess:
    """Calls each client in turn, in the order of the requests.

    A client's error is raised, not sent: whoever simulates wants to see it.

    Args:
      clients: who answers.
      reaching: what of a request reaches its client; the simulated fault.
    """

    def __init__(self, clients: Answering, *, reaching: Reaching = lambda request: request) -> None:
        self.clients = clients
        self._reaching = reaching

    def exchange(
        self, requests: Iterable[Message], *, deadline: float | None = None
    ) -> Iterator[Message | Lost]:
        """Yields each client's answer, one at a time; the deadline never strikes."""
        for request in requests:
            if request.client not in self.clients:
                yield Lost(client=request.client, reason="unreachable")
            elif (reached := self._reaching(request)) is None:
                yield Lost(client=request.client, reason="dropout")
            else:
                answer = self.clients.answer(reached)
                yield replace(answer, vectors=()) if reached.late else answer


def in_one_process(
    setup: RunSetup,
    enrolment: Enrolment,
    accounts: Mapping[str, Account] | None = None,
    ledgers: Mapping[str, Ledger] | None = None,
) -> InProcess:
    """Returns a transport to the clients of a run, which live in this process and share a workbench.

    Args:
      setup: what the parties of the run agree on.
      enrolment: the clients' keys.
      accounts: what their records have spent before the run was taken up; None: nothing.
      ledgers: each client's ledger; None counts this run alone.
    """
    residents = Residents(setup, enrolment, accounts or {}, ledgers=ledgers)
    return InProcess(residents, reaching=reaching_of(setup))


def reaching_of(setup: RunSetup) -> Reaching:
    """Returns what the experiment's faults let through."""
    config = setup.experiment.config
    if config.faults.dropout == 0:
        return lambda request: request
    schedule = schedule_of(config.faults, seed=config.seed)
    return Dropouts(schedule, secure=setup.secure is not None)
