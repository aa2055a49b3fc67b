"""An experiment set up for one run: its identities, its protections, its clients and its server."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from fedlearn.crypto.identity import SigningKey
from fedlearn.crypto.noise import NoiseSource
from fedlearn.crypto.prg import Keystream
from fedlearn.errors import PrivacyError
from fedlearn.experiment.experiment import Experiment
from fedlearn.experiment.plan import protections, secure_sum, weights
from fedlearn.privacy.accounting import Account
from fedlearn.privacy.ledger import Ledger
from fedlearn.rounds.client import Client
from fedlearn.rounds.member import Membership
from fedlearn.rounds.protection import Protection, SecureSum
from fedlearn.rounds.receipts import Issuer
from fedlearn.rounds.releases import AccountedReleases, LedgerReleases, Releases
from fedlearn.rounds.server import RoundServer
from fedlearn.rounds.transport import Transport
from fedlearn.secagg.fixed_point import RandomBits
from fedlearn.secagg.latches import Latches, MemoryLatches
from fedlearn.secagg.roster import Roster
from fedlearn.training.local import LocalTrainer, Workbench


@dataclass(frozen=True, kw_only=True, eq=False)
class RunSetup:
    """What all parties of a run agree on beforehand.

    Attributes:
      experiment: what is run.
      run: the run's id, in every message.
      roster: the identities of all clients.
    """

    experiment: Experiment
    run: str
    roster: Roster

    @cached_property
    def secure(self) -> SecureSum | None:
        """How updates are summed; None in the clear."""
        return secure_sum(self.experiment.config, self.experiment.population, self.roster)

    @cached_property
    def protections(self) -> dict[str, Protection]:
        """Each client's protection."""
        return protections(self.experiment.config, self.experiment.population, self.secure)

    def workbench(self) -> Workbench:
        """Returns a new workbench; clients of one process share one."""
        return Workbench(self.experiment.build_model(), self.experiment.recipe)

    def client(
        self,
        name: str,
        *,
        key: SigningKey,
        bench: Workbench,
        account: Account | None = None,
        ledger: Ledger | None = None,
        dataset: str | None = None,
        latches: Latches | None = None,
    ) -> Client:
        """Returns the client, resident from now on.

        Args:
          name: its id.
          key: its signing key.
          bench: the workbench it trains on.
          account: what its records have spent in this run already; None: nothing.
          ledger: what they have spent over all runs, which then decides; None counts this run alone.
          dataset: the ledger's name of the records; None takes the experiment's.
          latches: its memory of what it has answered; None: one that ends with the process.

        Raises:
          PrivacyError: the ledger has no budget for the records, or the run no differential privacy.
        """
        experiment, protection = self.experiment, self.protections[name]
        data = experiment.population.clients[name]
        return Client(
            name=name,
            run=self.run,
            trainer=LocalTrainer(
                client=name,
                dataset=data.train,
                records=data.size,
                plan=protection.plan,
                bench=bench,
                seed=experiment.config.seed,
                privacy=protection.record,
                noise=self._noise(name),
            ),
            protection=protection,
            dimension=bench.model.dimension,
            releases=self._releases(name, account, ledger, dataset),
            issuer=Issuer(
                key=key,
                roster=self.roster,
                dataset=dataset or experiment.dataset_id,
                delta=experiment.config.privacy.delta,
                noise="reproducible" if experiment.config.reproducible_noise else "os",
                ledger=ledger,
            ),
            membership=Membership(
                key=key,
                latches=latches or MemoryLatches(),
                repeat_model=protection.record is not None
                or experiment.config.secure_aggregation.redo_without_dp,
            ),
            rounding=self._rounding(name),
        )

    def server(
        self,
        transport: Transport,
        *,
        strict: bool = False,
        observe: Callable[[int, int, int], None] = lambda round, done, cohort: None,
    ) -> RoundServer:
        """Returns the server of the run's rounds."""
        config = self.experiment.config
        return RoundServer(
            transport=transport,
            run=self.run,
            aggregator=self.experiment.aggregator,
            weights=weights(config, self.experiment.population),
            secure=self.secure,
            deadline=config.cohort.deadline_seconds,
            strict=strict,
            observe=observe,
        )

    def _releases(
        self, name: str, account: Account | None, ledger: Ledger | None, dataset: str | None
    ) -> Releases:
        protection = self.protections[name]
        if ledger is not None:
            if self.experiment.config.reproducible_noise:
                raise PrivacyError(
                    "reproducible_noise = true protects nobody from one who knows the seed, so a ledger has"
                    " nothing to count: switch it off, or run without a ledger"
                )
            records = dataset or self.experiment.dataset_id
            return LedgerReleases(ledger, run=self.run, dataset=records, protection=protection)
        return AccountedReleases(client=name, protection=protection, account=account or Account())

    def _noise(self, name: str) -> Callable[[int], NoiseSource]:
        """Returns round → secret randomness, keyed by the OS, or by the seed if the experiment says so."""
        seed, run = self.experiment.config.seed, self.run
        if not self.experiment.config.reproducible_noise:
            return lambda round: NoiseSource()
        return lambda round: NoiseSource.reproducible_from(seed, run, name, round)

    def _rounding(self, name: str) -> Callable[[int], RandomBits]:
        """Returns round → secret bits for stochastic rounding, from the OS or the seed like the noise."""
        if not self.experiment.config.reproducible_noise:
            return lambda round: Keystream.from_os()
        label = (self.experiment.config.seed, self.run, name)
        return lambda round: Keystream(hashlib.sha256(repr(("rounding", *label, round)).encode()).digest())
