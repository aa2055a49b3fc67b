"""How a round's updates are summed: in the clear, securely, or as a mechanism of client-level DP asks.

All numbers derive from public values: the configuration and the declared sizes. None from a record.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from fedlearn.config import ExperimentConfig, SecureAggregationConfig
from fedlearn.experiment.client_level import (
    PublicNumbers,
    client_mechanism,
    integer_encoding,
    is_distributed,
    protects_clients,
    unit_encoding,
)
from fedlearn.experiment.cohorts import (
    cohort_sampling,
    cohort_size,
    is_poisson,
    largest_cohort,
    participations,
    session_parameters,
)
from fedlearn.experiment.population import Population
from fedlearn.experiment.shared import encoding_of, gradient_noise, shares_noise
from fedlearn.experiment.weights import weights
from fedlearn.privacy.cohort_noise import CohortNoise
from fedlearn.privacy.events import Event
from fedlearn.privacy.mechanisms import ClientMechanism
from fedlearn.rounds.protection import SecureSum
from fedlearn.secagg.fixed_point import FixedPoint
from fedlearn.secagg.parameters import SessionParameters
from fedlearn.secagg.roster import Roster


def mechanism(config: ExperimentConfig, population: Population, *, dimension: int) -> ClientMechanism | None:
    """Returns the client-level mechanism of every round; None without client-level DP.

    Raises:
      PrivacyError: δ is too large, or no noise meets the ε.
      RingTooSmall: the ring leaves too few steps for the signal.
    """
    if not protects_clients(config):
        return None
    clients, session = len(population.clients), None
    if config.secure_aggregation.enabled:
        session = session_parameters(config, largest_cohort(config, population))
    numbers = PublicNumbers(
        weights=weights(config, population),
        cohort=config.cohort.fraction * clients if is_poisson(config) else cohort_size(config, population),
        dimension=dimension,
        participations=participations(config, population),
        session=session,
        sampling=cohort_sampling(config, population),
    )
    return client_mechanism(config, numbers)


def secure_sum(
    config: ExperimentConfig,
    population: Population,
    roster: Roster,
    *,
    dimension: int,
    besides: tuple[Event, ...] = (),
) -> SecureSum | None:
    """Returns how updates are summed securely; None if the experiment does not ask for it.

    Args:
      config: the experiment.
      population: its clients.
      roster: their identities.
      dimension: number of parameters.
      besides: what else is charged to the ε of noise that the cohort shares.

    Raises:
      ConfigError: no parameters satisfy the rules for this cohort, or the sum could overflow.
      PrivacyError: no shared noise meets the ε.
    """
    if not config.secure_aggregation.enabled:
        return None
    numbers = session_parameters(config, largest_cohort(config, population))
    if protects_clients(config):
        made = mechanism(config, population, dimension=dimension)
        return bounded_sum(config, weights(config, population), roster, numbers, mechanism=made)
    if shares_noise(config):
        sizes = [client.declared_size for client in population.clients.values()]
        noise = gradient_noise(config, parameters=numbers, sizes=sizes, dimension=dimension, besides=besides)
        mode = config.secure_aggregation.mode
        return noisy_sum(mode, weights(config, population), roster, numbers, noise)
    return exact_sum(config.secure_aggregation, weights(config, population), roster, numbers)


def exact_sum(
    wanted: SecureAggregationConfig,
    public_weights: Mapping[str, float],
    roster: Roster,
    numbers: SessionParameters,
) -> SecureSum:
    """Returns the sum of weighted vectors that cannot overflow."""
    return SecureSum(
        mode=wanted.mode,
        parameters=numbers,
        encoding=FixedPoint.for_exact_sum(
            clients=numbers.clients,
            max_weight=max(public_weights.values()),
            value_range=wanted.value_range,
            modulus_bits=wanted.modulus_bits,
            fractional_bits=wanted.fractional_bits,
        ),
        roster=roster,
        weights=tuple(sorted(public_weights.items())),
    )


def bounded_sum(
    config: ExperimentConfig,
    public_weights: Mapping[str, float],
    roster: Roster,
    numbers: SessionParameters,
    *,
    mechanism: ClientMechanism | None,
) -> SecureSum:
    """Returns the sum of clipped updates: integers with noise, or reals that the server noises."""
    wanted = config.secure_aggregation
    return SecureSum(
        mode=wanted.mode,
        parameters=numbers,
        encoding=integer_encoding(wanted.modulus_bits, clients=numbers.clients)
        if is_distributed(config)
        else unit_encoding(config, numbers),
        roster=roster,
        weights=tuple(sorted(public_weights.items())),
        mechanism=mechanism,
    )


def noisy_sum(
    mode: Literal["masked", "ideal"],
    public_weights: Mapping[str, float],
    roster: Roster,
    numbers: SessionParameters,
    noise: CohortNoise,
) -> SecureSum:
    """Returns the sum of sums over records, each client's with a part of the noise."""
    return SecureSum(
        mode=mode,
        parameters=numbers,
        encoding=encoding_of(noise, clients=numbers.clients, modulus_bits=32),
        roster=roster,
        weights=tuple(sorted(public_weights.items())),
        noise=noise,
    )
