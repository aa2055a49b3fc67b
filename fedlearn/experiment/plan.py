"""The numbers that an experiment commits to: weights, noise and secure-aggregation parameters.

All of them derive from public values: the configuration and the declared sizes. None from a record.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fedlearn.config import ExperimentConfig, PrivacyConfig, SecureAggregationConfig
from fedlearn.crypto.identity import SigningKey
from fedlearn.errors import DeltaTooLarge, PrivacyError
from fedlearn.experiment.client_level import (
    PublicNumbers,
    client_mechanism,
    integer_encoding,
    is_distributed,
    protects_clients,
    unit_encoding,
)
from fedlearn.experiment.population import Population
from fedlearn.experiment.shared import encoding_of, gradient_noise, shares_noise
from fedlearn.privacy.budget import Budget
from fedlearn.privacy.calibration import calibrate_composition, calibrate_noise
from fedlearn.privacy.cohort_noise import CohortNoise
from fedlearn.privacy.events import Event, SampledGaussianEvent
from fedlearn.privacy.mechanisms import ClientMechanism
from fedlearn.privacy.sampling import CohortSampling
from fedlearn.rounds.protection import Protection, SecureSum
from fedlearn.secagg.fixed_point import FixedPoint
from fedlearn.secagg.parameters import SessionParameters, parameters
from fedlearn.secagg.roster import Roster
from fedlearn.training.batches import StepPlan
from fedlearn.training.private import RecordPrivacy

_DEVIATIONS = 6.0


@dataclass(frozen=True, kw_only=True)
class Enrolment:
    """The identities of a federation that one owner sets up: a simulation's.

    Attributes:
      keys: each client's signing key; empty where nothing is signed.
      roster: all their public halves.
    """

    keys: Mapping[str, SigningKey]
    roster: Roster

    @classmethod
    def of(cls, clients: Mapping[str, object]) -> Enrolment:
        """Returns fresh keys for the clients, from the operating system."""
        keys = {name: SigningKey.generate() for name in clients}
        return cls(keys=keys, roster=Roster(version=1, members={n: k.public for n, k in keys.items()}))

    @classmethod
    def needed_by(cls, config: ExperimentConfig, population: Population) -> Enrolment:
        """Returns the keys that a run signs with.

        Members of masked sums sign what they send, and clients with DP sign what they have spent; but
        not virtual ones, which would all have to be made to put their keys on the roster.
        """
        secure = config.secure_aggregation
        masked = secure.enabled and secure.mode == "masked"
        signs = config.privacy.enabled and not population.virtual
        return cls.of(population.clients if masked or signs else {})


def cohort_size(config: ExperimentConfig, population: Population) -> int:
    """Returns the number of clients in a cohort (its expectation, if cohorts are Poisson), at least 1."""
    # Halves go up; round() would send them to the even neighbour.
    return max(1, int(config.cohort.fraction * len(population.clients) + 0.5))


def weights(config: ExperimentConfig, population: Population) -> Mapping[str, float]:
    """Returns each client's public weight in (0, 1]: by declared size, or 1 for all."""
    if config.aggregation.weights == "uniform":
        return population.for_each(lambda name: 1.0)
    return declared_weights(population)


def declared_weights(population: Population) -> Mapping[str, float]:
    """Returns each client's declared size over the largest one, in (0, 1]."""
    clients, largest = population.clients, population.largest_declared_size
    return population.for_each(lambda name: clients[name].declared_size / largest)


def cohort_of(config: ExperimentConfig, ordered: Sequence[str], round: int) -> tuple[str, ...]:
    """Returns the clients of a round, sorted; decided by seed and round alone, so public.

    Args:
      config: the experiment.
      ordered: the ids of all clients, sorted.
      round: round, counted from 0.
    """
    cohort, rng = config.cohort, np.random.default_rng([config.seed, 1, round])
    if cohort.fraction >= 1:
        return tuple(ordered)
    if cohort.sampling == "poisson":
        chosen = np.flatnonzero(rng.random(len(ordered)) < cohort.fraction)
    else:
        count = max(1, int(cohort.fraction * len(ordered) + 0.5))
        chosen = np.sort(rng.choice(len(ordered), size=count, replace=False))
    return tuple(ordered[index] for index in chosen.tolist())


def is_poisson(config: ExperimentConfig) -> bool:
    """Returns whether the size of a cohort is left to chance."""
    return config.cohort.sampling == "poisson" and config.cohort.fraction < 1


def largest_cohort(config: ExperimentConfig, population: Population) -> int:
    """Returns the most clients that a round is made for; a Poisson cohort is larger with odds of 10⁻⁹."""
    if not is_poisson(config):
        return cohort_size(config, population)
    clients = len(population.clients)
    expected = config.cohort.fraction * clients
    return min(clients, math.ceil(expected + _DEVIATIONS * math.sqrt(expected)))


def participations(config: ExperimentConfig, population: Population) -> int:
    """Returns the most rounds that any client may be in: by the public schedule, or all."""
    if config.cohort.fraction >= 1 or is_poisson(config):
        return config.rounds
    counts = Counter(
        name for round in range(config.rounds) for name in cohort_of(config, population.names, round)
    )
    return max(counts.values())


def cohort_sampling(config: ExperimentConfig, population: Population) -> CohortSampling:
    """Returns how cohorts are drawn, and which of them are not asked."""
    clients, session = len(population.clients), None
    if config.secure_aggregation.enabled:
        session = session_parameters(config, largest_cohort(config, population))
    return CohortSampling(
        clients=clients,
        rate=config.cohort.fraction,
        poisson=is_poisson(config),
        least=0 if session is None else session.min_survivors,
        most=clients if session is None else session.clients,
    )


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


def session_parameters(config: ExperimentConfig, clients: int) -> SessionParameters:
    """Returns the parameters of sessions with that many clients; raises ConfigError if there are none."""
    wanted = config.secure_aggregation
    return parameters(
        clients, colluders=wanted.colluders, dropout=wanted.dropout, min_survivors=wanted.min_survivors
    )


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


def protections(
    config: ExperimentConfig,
    population: Population,
    secure: SecureSum | None,
    *,
    besides: tuple[Event, ...] = (),
    mechanism: ClientMechanism | None = None,
) -> Mapping[str, Protection]:
    """Returns each client's protection in every round.

    Args:
      config: the experiment.
      population: its clients.
      secure: how updates are summed; None in the clear.
      besides: what is charged to the same ε.
      mechanism: of client-level DP; None without.

    Raises:
      PrivacyError: δ is too large for a client, or no noise meets its ε; names the client.
    """
    public_weights, clients = weights(config, population), population.clients

    def made_for(name: str) -> Protection:
        declared_size = clients[name].declared_size
        plan = StepPlan.of(config.training, declared_size=declared_size)
        record = None
        if config.privacy.enabled and mechanism is None:
            check_delta(config.privacy, name, declared_size)
            shared = None if secure is None else secure.noise
            record = RecordPrivacy(
                noise_multiplier=shared.noise_multiplier
                if shared
                else _noise_multiplier(config, name, plan, besides),
                max_grad_norm=config.privacy.max_grad_norm,
                sample_rate=plan.sample_rate,
                declared_size=declared_size,
            )
        return Protection(
            weight=public_weights[name],
            plan=plan,
            record=record,
            mechanism=mechanism,
            secure=secure,
            budget=budget_of(config.privacy),
        )

    return population.for_each(made_for)


def budget_of(privacy: PrivacyConfig) -> Budget | None:
    """Returns what a client refuses to exceed; None where the noise is given and ε follows from it.

    None also where ε holds against outsiders only: a client counts what it spends against everyone.
    """
    if not privacy.enabled or privacy.epsilon is None or privacy.against == "outsiders":
        return None
    return Budget(epsilon=privacy.epsilon, delta=privacy.delta)


def check_delta(privacy: PrivacyConfig, name: str, declared_size: int) -> None:
    """Raises DeltaTooLarge unless δ is below one over the declared size: else it allows a plain leak."""
    if privacy.delta * declared_size >= 1:
        raise DeltaTooLarge(
            f"privacy.delta={privacy.delta} allows the publication of one of client {name!r}'s"
            f" {declared_size} records; it must be below {1 / declared_size:.3g}"
        )


def _noise_multiplier(
    config: ExperimentConfig, name: str, plan: StepPlan, besides: tuple[Event, ...]
) -> float:
    privacy = config.privacy
    if privacy.noise_multiplier is not None:
        return privacy.noise_multiplier
    if privacy.epsilon is None:
        raise PrivacyError(f"client {name!r}: neither privacy.epsilon nor privacy.noise_multiplier is given")
    steps = plan.steps * config.rounds
    if not besides:
        return calibrate_noise(
            epsilon=privacy.epsilon, delta=privacy.delta, sample_rate=plan.sample_rate, steps=steps
        )
    return calibrate_composition(
        lambda noise_multiplier: (
            *besides,
            SampledGaussianEvent(
                noise_multiplier=noise_multiplier, sample_rate=plan.sample_rate, steps=steps
            ),
        ),
        epsilon=privacy.epsilon,
        delta=privacy.delta,
    )
