"""Federated standardisation of an experiment: a release of its own before the first round.

Clients add up their records' contributions to mean and spread of each feature, through the same transport
and the same secure aggregation as training, under a run id of its own and in one round.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedlearn._types import Vector
from fedlearn.config import ExperimentConfig, SecureAggregationConfig
from fedlearn.data.statistics import default_bound, standardisation_of
from fedlearn.errors import ConfigError, DataError
from fedlearn.experiment.cohorts import session_parameters
from fedlearn.experiment.population import ClientData, Population
from fedlearn.experiment.protections import budget_of
from fedlearn.experiment.shared import moment_noise, statistics_epsilon
from fedlearn.experiment.sums import exact_sum, noisy_sum
from fedlearn.experiment.weights import declared_weights
from fedlearn.rounds.protection import Protection, SecureSum
from fedlearn.secagg.roster import Roster
from fedlearn.training.batches import StepPlan
from fedlearn.training.released import MomentSum

_WIDEST_MEAN = 1024.0
"""Largest mean of x² − 1 that an exact sum takes: records 32 public spreads away from their center."""

DECLARED = "standardisation statistics DECLARED UNPROTECTED"
"""Stands beside every ε of a run whose statistics were not charged."""


def is_federated(config: ExperimentConfig) -> bool:
    """Returns whether the experiment standardises by all clients' records together."""
    return config.data.standardise == "federated"


def are_charged(config: ExperimentConfig) -> bool:
    """Returns whether the statistics carry noise and are charged to the run's ε."""
    return is_federated(config) and config.privacy.enabled and config.privacy.statistics == "charged"


def are_declared(config: ExperimentConfig) -> bool:
    """Returns whether a run with privacy releases its statistics unprotected, as it declares."""
    return is_federated(config) and config.privacy.enabled and config.privacy.statistics == "declared"


def check_statistics(config: ExperimentConfig) -> None:
    """Raises what an experiment may not ask of federated standardisation.

    Raises:
      ConfigError: keys without effect, or noise without a sum to hide in.
      PrivacyError: no ε for the statistics, or none left for training.
    """
    privacy = config.privacy
    if not are_charged(config):
        for key in ("statistics_epsilon", "statistics_norm"):
            if getattr(privacy, key) is not None:
                raise ConfigError(
                    f"privacy.{key} is given and no statistics are charged: it needs data.standardise="
                    "'federated', privacy.enabled and privacy.statistics='charged'; leave it out"
                )
        return
    if not config.secure_aggregation.enabled:
        raise ConfigError(
            "data.standardise='federated' under privacy needs secure_aggregation.enabled: statistics are"
            " released as one noisy sum; enable it, or declare them with privacy.statistics='declared'"
        )
    statistics_epsilon(config)


@dataclass(frozen=True, kw_only=True)
class StatisticsRelease:
    """The release that federated standardisation is.

    Attributes:
      config: the experiment.
      population: its clients.
      features: number of features of a record, d.
      secure: how the sums are added up; None in the clear.
    """

    config: ExperimentConfig
    population: Population
    features: int
    secure: SecureSum | None

    @classmethod
    def of(cls, config: ExperimentConfig, population: Population, roster: Roster) -> StatisticsRelease:
        """Returns the release; raises DataError for records that are not rows of features."""
        features = features_of(population)
        secure = None
        if config.secure_aggregation.enabled:
            numbers = session_parameters(config, len(population.clients))
            by_size = declared_weights(population)
            secure = exact_sum(_wide(config.secure_aggregation), by_size, roster, numbers)
            if are_charged(config):
                noise = moment_noise(
                    config,
                    parameters=numbers,
                    sizes=[client.declared_size for client in population.clients.values()],
                    features=features,
                    bound=_bound(config, features),
                )
                secure = noisy_sum(secure.mode, by_size, roster, numbers, noise)
        return cls(config=config, population=population, features=features, secure=secure)

    @property
    def is_noisy(self) -> bool:
        """Whether the sums carry the cohort's noise."""
        return self.secure is not None and self.secure.noise is not None

    @property
    def request(self) -> Vector:
        """What the server sends to ask for the statistics: as many zeros as come back, 2d."""
        return np.zeros(2 * self.features, dtype=np.float32)

    @property
    def scale(self) -> float:
        """What makes the mean contribution of a record of the weighted mean that the server computes."""
        return 1.0 / self._largest if self.is_noisy else 1.0

    def protections(self) -> Mapping[str, Protection]:
        """Returns each client's protection in this release."""
        plan = StepPlan(steps=1, sample_rate=1.0)
        budget = budget_of(self.config.privacy) if self.is_noisy else None
        return {
            name: Protection(weight=weight, plan=plan, secure=self.secure, budget=budget)
            for name, weight in declared_weights(self.population).items()
        }

    def trainer(self, data: ClientData) -> MomentSum:
        """Returns what a client computes: its sum under noise, else its mean, which its weight undoes."""
        return MomentSum(
            dataset=data.train,
            records=data.size,
            bound=_bound(self.config, self.features) if self.is_noisy else None,
            divisor=1.0 if self.is_noisy else float(data.declared_size),
        )

    @property
    def _largest(self) -> int:
        return max(client.declared_size for client in self.population.clients.values())


def constants_of(means: Vector) -> Vector:
    """Returns center and spread of each feature, (2d,) float32, from the means of the contributions."""
    found = standardisation_of(means)
    return np.concatenate([found.center, found.spread]).astype(np.float32)


def features_of(population: Population) -> int:
    """Returns the number of features of a record; raises DataError if it is no row of features."""
    shape = population.shape
    if shape is None:
        shape = tuple(next(iter(population.clients.values())).train[0][0].shape)
    if population.vocabulary is not None or len(shape) != 1:
        raise DataError(
            f"data.standardise='federated' needs rows of real features; records have shape {shape}:"
            " use 'public' or 'none'"
        )
    return int(shape[0])


def _wide(wanted: SecureAggregationConfig) -> SecureAggregationConfig:
    """Returns the same for a sum of squares: their mean goes far beyond an update's range."""
    value_range = max(wanted.value_range, _WIDEST_MEAN)
    return wanted.model_copy(update={"modulus_bits": 32, "value_range": value_range, "fractional_bits": None})


def _bound(config: ExperimentConfig, features: int) -> float:
    return config.privacy.statistics_norm or default_bound(features)
