"""The clients of a simulated run, each made when it is first needed: an idle one takes no memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from fedlearn.errors import OutOfMemory
from fedlearn.experiment.enrolment import Enrolment
from fedlearn.experiment.setup import RunSetup
from fedlearn.privacy.account import Account
from fedlearn.privacy.ledger import Ledger
from fedlearn.rounds.client import Client
from fedlearn.rounds.transport import Message
from fedlearn.training.devices import Device
from fedlearn.training.local import Workbench


class Residents(Mapping[str, Client]):
    """Client id → client; all share one workbench, and one process.

    A client that has something to remember stays once it is made: its sessions and latches in
    ``masked`` mode, its account with DP. Any other is made anew for each request, so that memory does
    not grow with the number of clients that ever took part.

    Guarantee: what a client's records have spent is charged in full whichever process trained it; a
    budget is not stretched by splitting the rounds among workers.

    Args:
      setup: what the parties of the run agree on.
      enrolment: the clients' keys.
      accounts: what their records have spent before the run was taken up.
      charges: by position of the client in the population, how often its account was charged in this
        run, by any process; the processes of a run share it. None: there is only this process.
      ledgers: each client's ledger, which counts instead; None or empty without.
    """

    def __init__(
        self,
        setup: RunSetup,
        enrolment: Enrolment,
        accounts: Mapping[str, Account],
        charges: NDArray[np.int64] | None = None,
        ledgers: Mapping[str, Ledger] | None = None,
    ) -> None:
        config = setup.experiment.config
        masked = setup.secure is not None and setup.secure.mode == "masked"
        self._ledgers = ledgers or {}
        self._private = config.privacy.enabled and not self._ledgers
        self._remembers = masked or config.privacy.enabled
        self._setup = setup
        self._names = setup.experiment.population.clients
        self._keys = enrolment.keys
        self._accounts = accounts
        size = len(self._names) if self._private else 0
        self._charges = np.zeros(size, np.int64) if charges is None else charges
        self._made: dict[str, Client] = {}
        self._charged: dict[str, int] = {}
        self._position_of = setup.experiment.population.position_of
        self._bench: Workbench | None = None

    def __getitem__(self, name: str) -> Client:
        """Returns the client, made now unless it was; raises KeyError for an unknown one."""
        client = self._made.get(name) or self._new(name)
        if self._private:
            self._catch_up(name, client)
        return client

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def answer(self, request: Message) -> Message:
        """Returns the addressee's reply, or raises what went wrong; its charges are kept either way."""
        client = self[request.client]
        try:
            return client.answer(request)
        except (MemoryError, RuntimeError) as error:
            if not _is_lack_of_memory(error):
                raise
            raise self._out_of_memory(request.client, error) from error
        finally:
            if self._private:
                self._note_charges(request.client, client)

    def _out_of_memory(self, client: str, error: Exception) -> OutOfMemory:
        device, batch = self.workbench.device, self._setup.experiment.config.training.batch_size
        beside = "devices.clients_per_gpu" if device.is_gpu else "--workers"
        records = "set training.batch_size" if batch is None else f"lower training.batch_size={batch}"
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        return OutOfMemory(
            f"client {client!r} ran out of memory on {device.name} ({reason}):"
            f" {records}, lower {beside}, or take a smaller model; go on with --resume"
        )

    def settle(self, device: Device) -> None:
        """Gives this process its device; before the first of its clients trains."""
        self.workbench.device = device

    @property
    def workbench(self) -> Workbench:
        """The workbench of this process; made on first use."""
        if self._bench is None:
            self._bench = self._setup.workbench()
        return self._bench

    def _new(self, name: str) -> Client:
        spent = self._accounts.get(name)
        account = None if spent is None else Account(spent.events)
        client = self._setup.client(
            name,
            key=self._keys.get(name),
            bench=self.workbench,
            account=account,
            ledger=self._ledgers.get(name),
        )
        if self._remembers:
            self._made[name] = client
        return client

    def _catch_up(self, name: str, client: Client) -> None:
        """Charges what other processes have charged since this one last did."""
        event = self._setup.protections[name].event()
        charges, known = int(self._charges[self._position_of(name)]), self._charged.get(name, 0)
        if event is not None:
            for _ in range(charges - known):
                client.releases.account().charge(event)
        self._charged[name] = charges

    def _note_charges(self, name: str, client: Client) -> None:
        event = self._setup.protections[name].event()
        if event is None:
            return
        before = self._accounts[name].steps if name in self._accounts else 0
        self._charged[name] = (client.releases.account().steps - before) // event.steps
        self._charges[self._position_of(name)] = self._charged[name]


def _is_lack_of_memory(error: Exception) -> bool:
    """Returns whether numpy, torch on a processor or torch on a GPU could not allocate."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return "can't allocate memory" in str(error) or "not enough memory" in str(error)
