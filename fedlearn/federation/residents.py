"""The clients of an experiment, as residents of a host."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from fedlearn.crypto.identity import SigningKey
from fedlearn.experiment import Experiment
from fedlearn.experiment.ledgers import LedgerFolder, burn_cut_off
from fedlearn.experiment.setup import RunSetup
from fedlearn.federation.assignment import Assignment, Resident
from fedlearn.privacy.account import Account
from fedlearn.privacy.ledger import Ledger
from fedlearn.rounds.client import Client
from fedlearn.rounds.transport import Message
from fedlearn.runs.directory import RunDirectory
from fedlearn.secagg.roster import Roster
from fedlearn.training.memory import HeldMemory


class SimulatedClient:
    """A client whose errors are told in full: in a simulation, client and server have one owner.

    Args:
      client: the client.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def handle(self, message: Message) -> Message:
        """Returns the reply; an error is a reply, too."""
        return self._client.handle(message, reveal_detail=True)


def settle(assignment: Assignment) -> Mapping[str, Resident]:
    """Returns the assigned clients, each with its records, its key and its account.

    Raises:
      FedLearnError: the experiment cannot be set up here, e.g. because its data is missing.
    """
    setup = RunSetup(
        experiment=Experiment.from_toml_text(assignment.experiment),
        run=assignment.run,
        roster=Roster(version=1, members=dict(assignment.roster)),
        memory=RunDirectory(Path(assignment.directory)).memory if assignment.directory else HeldMemory(),
    )
    bench = setup.workbench()
    keys = {name: SigningKey.from_bytes(key) for name, key in assignment.keys.items()}
    ledgers = _ledgers(assignment, keys)
    return {
        name: SimulatedClient(
            setup.client(
                name, key=key, bench=bench, account=_spent(assignment, name), ledger=ledgers.get(name)
            )
        )
        for name, key in keys.items()
    }


def _spent(assignment: Assignment, name: str) -> Account | None:
    """Returns what a client's records have spent before the run was taken up; None: nothing."""
    kept = assignment.accounts.get(name)
    return None if kept is None else Account.from_dict(json.loads(kept))


def _ledgers(assignment: Assignment, keys: Mapping[str, SigningKey]) -> dict[str, Ledger]:
    """Returns the clients' ledgers, open for the life of this process; empty without a folder."""
    if not assignment.ledger:
        return {}
    folder = LedgerFolder(Path(assignment.ledger))
    ledgers = {name: folder.open(name, key) for name, key in keys.items()}
    if assignment.resumed:
        burn_cut_off(ledgers, assignment.run)
    return ledgers
