"""What of an experiment stays at its clients between rounds, and what it may not be combined with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from fedlearn._types import Vector
from fedlearn.aggregators.accumulator import Aggregator
from fedlearn.algorithms.local_rule import LocalRule
from fedlearn.config import ExperimentConfig
from fedlearn.errors import ConfigError, NonLinearAggregator
from fedlearn.experiment.client_level import protects_clients
from fedlearn.experiment.population import Population
from fedlearn.experiment.shared import shares_noise
from fedlearn.training.keeping import LAYERS, KeepingTrainer
from fedlearn.training.local import LocalTrainer
from fedlearn.training.memory import Memory, Shelf
from fedlearn.training.split import Split

_PART = "training"


def check_kept(config: ExperimentConfig, rule: LocalRule, aggregator: Aggregator) -> None:
    """Raises what an experiment may not ask of clients that keep something, with the reason and the way out.

    Raises:
      NonLinearAggregator: a rule whose server holds means of what clients hold.
      ConfigError: protections that would not cover what is kept, or an optimizer that hides gradients.
    """
    name = config.algorithm.name
    if shares_noise(config) and (rule.remembers or config.model.local_layers):
        what = f"algorithm.name={name!r}" if rule.remembers else "model.local_layers"
        raise ConfigError(
            f"{what} with privacy.noise='distributed': clients send gradients for the server's one step and"
            " have no noise of their own to keep anything under; set privacy.noise='local'"
        )
    if not rule.remembers:
        return
    if protects_clients(config):
        raise ConfigError(
            f"algorithm.name={name!r} with privacy.unit='client': what a client keeps would follow from its"
            " whole update and what the server keeps from clipped and noisy ones, and they drift apart;"
            " use 'fedavgm' or 'fedprox', or privacy.unit='record'"
        )
    if not aggregator.linear:
        raise NonLinearAggregator(
            f"algorithm.name={name!r} with aggregation.name={config.aggregation.name!r}: the server keeps the"
            " mean of what its clients keep; use 'weighted-mean'"
        )
    training = config.training
    if getattr(rule, "reads_gradients", False) and (training.optimizer != "sgd" or training.momentum > 0):
        raise ConfigError(
            f"algorithm.name={name!r} with training.optimizer={training.optimizer!r}, momentum="
            f"{training.momentum:g}: it reads a client's mean gradient off the way that its parameters went,"
            " which plain sgd alone tells; set optimizer='sgd' and momentum=0, or use 'feddyn'"
        )


def trains_personal_models(config: ExperimentConfig) -> bool:
    """Returns whether clients train a personal model beside the federated one."""
    return config.personalisation.enabled and config.personalisation.method == "ditto"


def check_personal(config: ExperimentConfig, *, known: Population | None) -> None:
    """Raises ConfigError for a personal model that cannot be trained as asked.

    Args:
      config: the experiment.
      known: the population where it was given: a site's, or that of the simulation which the experiment is
        derived from, whose strangers are set aside already.
    """
    set_aside = known is not None and bool(known.unseen)
    for key, asked in (
        ("personalisation.enabled", config.personalisation.enabled),
        ("data.unseen_clients", config.data.unseen_clients > 0 and not set_aside),
    ):
        if asked and known is not None:
            raise ConfigError(
                f"{key} on sites: a site's choice of its own model is its own affair; leave it out, and"
                " fine-tune the model where it was delivered"
            )
    if trains_personal_models(config) and config.model.local_layers:
        raise ConfigError(
            "personalisation.method='ditto' with model.local_layers: the personal model is pulled towards a"
            " whole global one, and layers that stay at clients have none; use 'fine-tune'"
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class KeptParts:
    """What stays at the clients of a run.

    Attributes:
      rule: the algorithm's part at its clients.
      split: which coordinates of the model travel.
      initial: the whole initial vector.
      memory: where clients keep.
    """

    rule: LocalRule
    split: Split
    initial: Vector = field(repr=False)
    memory: Memory

    @property
    def any(self) -> bool:
        """Whether anything that updates depend on stays."""
        return self.rule.remembers or bool(self.split.names)

    @property
    def sent_length(self) -> int:
        """Length of what a client sends without client-level DP."""
        return self.rule.sent * self.split.shared

    @property
    def received_length(self) -> int:
        """Length of what a client is sent, without constants."""
        return (1 + len(self.rule.received)) * self.split.shared

    def trainer(self, trainer: LocalTrainer) -> KeepingTrainer:
        """Returns a client's trainer with what it keeps around it."""
        return KeepingTrainer(
            trainer=trainer,
            rule=self.rule,
            split=self.split,
            initial=self.split.local_of(self.initial),
            shelf=self._shelf(trainer.client),
        )

    def whole(self, vector: Vector) -> Vector:
        """Returns the model of a client that never took part: what travels, and the initial rest.

        Args:
          vector: the coordinates that travel, and constants behind them, if any.
        """
        return self._joined(vector, self.split.local_of(self.initial))

    def models(self, vector: Vector, *, completed: int) -> Callable[[str], Vector]:
        """Returns client → its model after ``completed`` rounds; ``vector`` as in :meth:`whole`."""

        def of(client: str) -> Vector:
            kept = self._shelf(client).recall(before=completed)
            return self._joined(vector, kept.get(LAYERS, self.split.local_of(self.initial)))

        return of

    def _joined(self, vector: Vector, local: Vector) -> Vector:
        if not self.split.names:
            return vector
        d = self.split.shared
        return np.concatenate([self.split.joined(vector[:d], local), vector[d:]])

    def _shelf(self, client: str) -> Shelf:
        return Shelf(memory=self.memory, client=client, part=_PART)
