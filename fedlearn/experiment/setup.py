"""An experiment set up for one run: its identities, its protections, its clients and its server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from fedlearn.aggregators.weighted_mean import WeightedMean
from fedlearn.crypto.identity import SigningKey
from fedlearn.errors import ConfigError
from fedlearn.experiment.asynchronous import buffered
from fedlearn.experiment.clients import ClientParts, client_of
from fedlearn.experiment.cohorts import cohort_sampling
from fedlearn.experiment.experiment import Experiment
from fedlearn.experiment.kept import KeptParts, trains_personal_models
from fedlearn.experiment.pace import fleet_of
from fedlearn.experiment.personal import personal_workbench
from fedlearn.experiment.pretraining import pretraining_of, pretrains
from fedlearn.experiment.protections import budget_of, protections
from fedlearn.experiment.randomness import noise_of
from fedlearn.experiment.shared import shares_noise
from fedlearn.experiment.stages import Stage, stage_run
from fedlearn.experiment.statistics import StatisticsRelease, is_federated
from fedlearn.experiment.sums import mechanism, secure_sum
from fedlearn.experiment.synthesis import added_records, synthesis_of, synthesises
from fedlearn.experiment.weights import declared_weights, weights
from fedlearn.experiment.work import Work
from fedlearn.privacy.account import Account
from fedlearn.privacy.events import Event
from fedlearn.privacy.ledger import Ledger
from fedlearn.privacy.mechanisms import ClientMechanism
from fedlearn.privacy.sampling import CohortSampling
from fedlearn.rounds.client import Client
from fedlearn.rounds.compression import Compression
from fedlearn.rounds.outcome import Rounds
from fedlearn.rounds.protection import Protection, SecureSum
from fedlearn.rounds.server import RoundServer
from fedlearn.rounds.transport import Transport
from fedlearn.secagg.latches import Latches, MemoryLatches
from fedlearn.secagg.roster import Roster
from fedlearn.training.local import Workbench
from fedlearn.training.memory import HeldMemory, Memory
from fedlearn.training.vector import FlatModel


@dataclass(frozen=True, kw_only=True, eq=False)
class RunSetup:
    """What all parties of a run agree on beforehand.

    Attributes:
      experiment: what is run.
      run: the run's id, in every message.
      roster: the identities of all clients.
      memory: where clients keep what stays with them between rounds.
      before: the run that this one is a stage of, and precedes; None for a run by itself.
    """

    experiment: Experiment
    run: str
    roster: Roster
    memory: Memory = field(default_factory=HeldMemory)
    before: RunSetup | None = None

    @cached_property
    def kept(self) -> KeptParts:
        """What stays at the clients."""
        return self.experiment.kept(self.memory)

    @cached_property
    def statistics(self) -> StatisticsRelease | None:
        """The release before the first round; None if there is none."""
        if self.before is not None or not is_federated(self.experiment.config):
            return None
        return StatisticsRelease.of(self.experiment.config, self.experiment.population, self.roster)

    @cached_property
    def statistics_protections(self) -> dict[str, Protection]:
        """Each client's protection in the release before the first round; empty if there is none."""
        return {} if self.statistics is None else dict(self.statistics.protections())

    @cached_property
    def pretraining(self) -> RunSetup | None:
        """The stage that learns the body of the model before the first round; None if there is none."""
        if not pretrains(self.experiment.config):
            return None
        return self._stage("pretraining", pretraining_of(self.experiment))

    @cached_property
    def synthesis(self) -> RunSetup | None:
        """The stage that trains a generator of records before the first round; None if there is none."""
        if not synthesises(self.experiment.config):
            return None
        return self._stage("synthesis", synthesis_of(self.experiment))

    def _stage(self, stage: Stage, experiment: Experiment) -> RunSetup:
        return RunSetup(
            experiment=experiment, run=stage_run(self.run, stage), roster=self.roster, before=self
        )

    @cached_property
    def generator_length(self) -> int:
        """Length of what clients are sent behind everything else: the generator's parameters."""
        return 0 if self.synthesis is None else self.synthesis.dimension

    @cached_property
    def secure(self) -> SecureSum | None:
        """How updates are summed; None in the clear."""
        return secure_sum(
            self.experiment.config,
            self.experiment.population,
            self.roster,
            dimension=self.summed_length,
            # Noise that the cohort shares is charged alike to every client.
            besides=self.charged_before(self.experiment.population.names[0]),
        )

    @cached_property
    def mechanism(self) -> ClientMechanism | None:
        """Client-level DP of every round; None without."""
        if self.secure is not None:
            return self.secure.mechanism
        return mechanism(self.experiment.config, self.experiment.population, dimension=self.summed_length)

    @cached_property
    def compression(self) -> Compression | None:
        """How updates travel; None: whole."""
        compressor = self.experiment.compressor
        if compressor is None:
            return None
        return Compression(
            compressor=compressor,
            dimension=self.kept.sent_length,
            run=self.run,
            error_feedback=self.experiment.config.compression.error_feedback,
        )

    @property
    def keeps(self) -> bool:
        """Whether clients keep anything between rounds."""
        feedback = self.compression is not None and self.compression.error_feedback
        return self.kept.any or feedback or trains_personal_models(self.experiment.config)

    @property
    def dimension(self) -> int:
        """Number of parameters that travel, d."""
        return self.experiment.split.shared

    @property
    def summed_length(self) -> int:
        """Length of the vectors that are clipped, noised and summed: of updates, or shorter ones for them."""
        return self.kept.sent_length if self.compression is None else self.compression.layout.length

    @property
    def added_length(self) -> int:
        """Length of what the server adds up in the clear: of payloads if they add up, else of updates."""
        if self.compression is None or self.compression.compressor.summable:
            return self.reply_length
        return self.compression.dimension

    @property
    def reply_length(self) -> int:
        """Length of the vector that clients send."""
        return self.summed_length if self.mechanism is None else self.mechanism.length

    @property
    def reply_bytes(self) -> int:
        """Bytes of this vector on the wire."""
        if self.secure is not None:
            return self.reply_length * self.secure.encoding.dtype.itemsize
        kind = np.dtype(np.float32) if self.compression is None else self.compression.layout.dtype
        return self.reply_length * kind.itemsize

    @property
    def request_bytes(self) -> int:
        """Bytes of the vector that clients are sent."""
        experiment = self.experiment
        bits = 0 if self.mechanism is None else self.mechanism.sums.bits
        constants = experiment.initial_constants.size
        return 4 * (self.kept.received_length + constants + bits + self.generator_length)

    def request_length(self, model: FlatModel) -> int:
        """Length of the vector that clients are sent: parameters, constants, an adaptive clipping norm.

        What an algorithm's rule receives stands between parameters and constants.
        """
        bits = 0 if self.mechanism is None else self.mechanism.sums.bits
        return self.kept.received_length + model.carried + bits + self.generator_length

    @cached_property
    def weights(self) -> Mapping[str, float]:
        """What the server weighs each client's vector with; a client-level mechanism has weighed it."""
        if self.mechanism is not None:
            return dict.fromkeys(self.experiment.population.clients, 1.0)
        return weights(self.experiment.config, self.experiment.population)

    @cached_property
    def sampling(self) -> CohortSampling:
        """How cohorts are drawn."""
        return cohort_sampling(self.experiment.config, self.experiment.population)

    def cohort(self, round: int) -> tuple[str, ...]:
        """Returns the clients of a round, sorted.

        Under client-level DP a Poisson cohort is drawn by secret coins: a cohort that the seed tells is
        known to all, and earns no amplification. It is drawn once and kept for the life of this object.
        Asynchronous rounds have no cohort.
        """
        if self.experiment.config.asynchronous.enabled:
            return ()
        if self.mechanism is None or not self.sampling.poisson:
            return self.experiment.cohort(round)
        if round not in self._drawn:
            coins = noise_of(self.experiment.config, self.run, "cohort")(round)
            self._drawn[round] = self.sampling.draw(self.experiment.population.clients, coins)
        return self._drawn[round]

    @cached_property
    def _drawn(self) -> dict[int, tuple[str, ...]]:
        return {}

    @cached_property
    def protections(self) -> Mapping[str, Protection]:
        """Each client's protection in the rounds of training."""
        return protections(
            self.experiment.config,
            self.experiment.population,
            self.secure,
            besides=self.charged_before,
            mechanism=self.mechanism,
            budget=budget_of((self.before or self).experiment.config.privacy),
            added=added_records(self.experiment.config),
        )

    def charged_before(self, name: str) -> tuple[Event, ...]:
        """Returns what a client's records are charged before the first round, each release once."""
        statistics = self.statistics_protections.get(name)
        events = [None if statistics is None else statistics.event()]
        for stage in self.stages:
            event, rounds = stage.protections[name].event(), stage.experiment.config.rounds
            events.append(None if event is None else replace(event, steps=event.steps * rounds))
        return tuple(event for event in events if event is not None)

    @property
    def stages(self) -> tuple[RunSetup, ...]:
        """The federations that precede the first round, in their order."""
        return tuple(stage for stage in (self.synthesis, self.pretraining) if stage is not None)

    @cached_property
    def own_bench(self) -> Workbench:
        """The workbench of a stage, or of its generator: one for all clients of a process."""
        return self.workbench()

    def workbench(self) -> Workbench:
        """Returns a new workbench on the CPU; clients of one process share one."""
        return self.experiment.workbench()

    def client(
        self,
        name: str,
        *,
        key: SigningKey | None,
        bench: Workbench,
        account: Account | None = None,
        ledger: Ledger | None = None,
        dataset: str | None = None,
        latches: Latches | None = None,
    ) -> Client:
        """Returns the client, resident from now on.

        Args:
          name: its id.
          key: its signing key; None: it signs nothing, and is no member of secure aggregation.
          bench: the workbench it trains on.
          account: what its records have spent in this run already; None: nothing.
          ledger: what they have spent over all runs, which then decides; None counts this run alone.
          dataset: the ledger's name of the records; None takes the experiment's.
          latches: its memory of what it has answered; None: one that ends with the process.

        Raises:
          PrivacyError: the ledger has no budget for the records, or the run no differential privacy.
        """
        parts = ClientParts(
            name=name,
            key=key,
            account=Account() if account is None else account,
            ledger=ledger,
            dataset=dataset or self.experiment.dataset_id,
            latches=latches or MemoryLatches(),
        )
        return client_of(self, parts, bench=bench)

    @cached_property
    def personal_bench(self) -> Workbench:
        """Where personal models are trained: apart from hooks that clip the federated one's gradients."""
        return personal_workbench(self.experiment)

    def bench_of(self, name: str, bench: Workbench) -> Workbench:
        """Returns where a client trains: its task has a model of its own."""
        part = self.experiment.part_of(name)
        if part is self.experiment:
            return bench
        if id(part) not in self._benches:
            self._benches[id(part)] = part.workbench()
        return self._benches[id(part)]

    @cached_property
    def _benches(self) -> dict[int, Workbench]:
        return {}

    @cached_property
    def work(self) -> Work | None:
        """How long clients take; None where no simulated time passes."""
        fleet = fleet_of(self.experiment)
        return None if fleet is None else Work(self, fleet)

    def rounds(
        self,
        transport: Transport,
        *,
        strict: bool = False,
        observe: Callable[[int, int, int], None] = lambda round, done, cohort: None,
    ) -> Rounds:
        """Returns what runs the run's rounds: the server, or an asynchronous one around it."""
        if not self.experiment.config.asynchronous.enabled:
            return self.server(transport, strict=strict, observe=observe)
        return buffered(self, self.server(transport, strict=strict), observe)

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
            weights=self.weights,
            secure=self.secure,
            deadline=config.cohort.deadline_seconds,
            strict=strict,
            observe=observe,
            dimension=self.reply_length,
            mechanism=self.mechanism,
            noise=noise_of(config, self.run, "server"),
            scale=self._step_of_a_sum if shares_noise(config) else lambda round: 1.0,
            compression=self.compression,
        )

    def _step_of_a_sum(self, round: int) -> float:
        """Returns what makes the server's step of Σ gradients / Σ weights: −η over the expected batch.

        Weights are declared sizes over the largest of them, so that the divisor is Σ q · declared size.
        """
        rate = self.experiment.config.training.sample_rate or 1.0
        largest = max(client.declared_size for client in self.experiment.population.clients.values())
        return -self.experiment.recipe.learning_rate_of(round) / (rate * largest)

    def statistics_server(self, transport: Transport, *, strict: bool = False) -> RoundServer:
        """Returns the server of the release before the first round.

        Raises:
          ConfigError: the experiment has none.
        """
        release = self.statistics
        if release is None:
            raise ConfigError("data.standardise is not 'federated': there are no statistics to release")
        return RoundServer(
            transport=transport,
            run=stage_run(self.run, "statistics"),
            aggregator=WeightedMean(),
            weights=declared_weights(self.experiment.population),
            secure=release.secure,
            deadline=self.experiment.config.cohort.deadline_seconds,
            strict=strict,
            scale=lambda round: release.scale,
        )
