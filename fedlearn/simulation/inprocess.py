"""Messages as function calls: the transport of a simulation in one process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from fedlearn.experiment.plan import Enrolment
from fedlearn.experiment.setup import RunSetup
from fedlearn.privacy.accounting import Account
from fedlearn.rounds.transport import Lost, Message
from fedlearn.simulation.faults import Dropouts, schedule_of

Reaching = Callable[[Message], Message | None]
"""What of a request reaches its client; None if the client is gone."""


class Answering(Protocol):
    """A client, as a transport sees it."""

    def answer(self, message: Message) -> Message:
        """Returns the reply, or raises what went wrong."""
        ...


class InProcess:
    """Calls each client in turn, in the order of the requests.

    A client's error is raised, not sent: whoever simulates wants to see it.

    Args:
      clients: client id → client.
      reaching: what of a request reaches its client; the simulated fault.
    """

    def __init__(
        self, clients: Mapping[str, Answering], *, reaching: Reaching = lambda request: request
    ) -> None:
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
                yield self.clients[request.client].answer(reached)


def in_one_process(
    setup: RunSetup, enrolment: Enrolment, accounts: Mapping[str, Account] | None = None
) -> InProcess:
    """Returns a transport to the clients of a run, which live in this process and share a workbench.

    Args:
      setup: what the parties of the run agree on.
      enrolment: the clients' keys.
      accounts: what their records have spent before the run was taken up; None: nothing.
    """
    config, bench = setup.experiment.config, setup.workbench()
    spent = accounts or {}
    clients = {
        name: setup.client(name, key=key, bench=bench, account=spent.get(name))
        for name, key in enrolment.keys.items()
    }
    if config.faults.dropout == 0:
        return InProcess(clients)
    schedule = schedule_of(config.faults, seed=config.seed)
    return InProcess(clients, reaching=Dropouts(schedule, secure=setup.secure is not None))
