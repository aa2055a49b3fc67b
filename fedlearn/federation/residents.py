"""The clients of an experiment, as residents of a host."""

from __future__ import annotations

from collections.abc import Mapping

from fedlearn.crypto.identity import SigningKey
from fedlearn.experiment import Experiment
from fedlearn.experiment.setup import RunSetup
from fedlearn.federation.assignment import Assignment, Resident
from fedlearn.rounds.client import Client
from fedlearn.rounds.transport import Message
from fedlearn.secagg.roster import Roster


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
    )
    bench = setup.workbench()
    return {
        name: SimulatedClient(setup.client(name, key=SigningKey.from_bytes(key), bench=bench))
        for name, key in assignment.keys.items()
    }
