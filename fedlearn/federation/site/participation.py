"""A site's part in one run: its client, with the site's records, key, latches and ledger behind it."""

from __future__ import annotations

from pathlib import Path

from fedlearn.config import DevicesConfig, ExperimentConfig
from fedlearn.experiment import Experiment
from fedlearn.experiment.setup import RunSetup
from fedlearn.federation.site.data import SiteData, population_of
from fedlearn.federation.site.identity import Identity
from fedlearn.federation.terms import Proposal
from fedlearn.privacy.ledger import Ledger
from fedlearn.rounds.client import Client
from fedlearn.rounds.memory_folder import FolderMemory
from fedlearn.rounds.transport import Message
from fedlearn.secagg.latches import Latches
from fedlearn.training.devices import Device, devices_of, on_processor
from fedlearn.training.memory import HeldMemory


def setup_of(
    proposal: Proposal, *, site: str, data: SiteData, identity: Identity, memory: Path | None = None
) -> RunSetup:
    """Returns what the parties of a proposed run agree on, with this site's records in it.

    Args:
      proposal: the terms.
      site: the site's name.
      data: its records.
      identity: its keys.
      memory: folder for what it keeps between rounds, by run; None keeps it in this process.

    Raises:
      FedLearnError: the experiment cannot be set up, e.g. because the secure sum could overflow.
    """
    config = ExperimentConfig.from_toml_text(proposal.experiment)
    population = population_of(proposal.sizes, proposal.schema, held={site: data.held(config)})
    experiment = Experiment(config=config, known=population)
    return RunSetup(
        experiment=experiment,
        run=proposal.run,
        roster=identity.roster.clients,
        memory=HeldMemory() if memory is None else FolderMemory(memory / proposal.run),
    )


def device_of(allowed: str, asked: DevicesConfig) -> Device:
    """Returns where a site trains: the device that its settings allow, in the precision that a run asks for.

    Args:
      allowed: ``limits.device``; what a run asks for instead is not heard.
      asked: the run's.

    Raises:
      ConfigError: there is no such device.
    """
    if allowed == "cpu":
        return on_processor(asked)
    return devices_of(asked.model_copy(update={"use": allowed}))[0]


class Participation:
    """One site in one run.

    Args:
      proposal: the accepted terms.
      setup: made from it.
      site: the site's name.
      identity: its key.
      dataset: the ledger's name of its records.
      ledger: of the site.
      latches: of the site.
      device: where it trains.
    """

    def __init__(
        self,
        proposal: Proposal,
        setup: RunSetup,
        *,
        site: str,
        identity: Identity,
        dataset: str,
        ledger: Ledger,
        latches: Latches,
        device: Device,
    ) -> None:
        self.run = proposal.run
        private = setup.protections[site].event() is not None
        bench = setup.workbench()
        bench.device = device
        self._client: Client = setup.client(
            site,
            key=identity.key,
            bench=bench,
            ledger=ledger if private else None,  # without privacy there is nothing that a budget could cover
            dataset=dataset,
            latches=latches,
        )

    def answer(self, message: Message) -> Message:
        """Returns the client's reply; what it released is committed in the ledger before this returns.

        Raises:
          FedLearnError: what :meth:`fedlearn.rounds.client.Client.answer` raises.
        """
        return self._client.answer(message)
