"""The numbers that an experiment commits to: weights, noise and secure-aggregation parameters.

All of them derive from public values: the configuration and the declared sizes. None from a record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fedlearn.config import ExperimentConfig, PrivacyConfig, SecureAggregationConfig
from fedlearn.crypto.identity import SigningKey
from fedlearn.errors import PrivacyError
from fedlearn.experiment.population import Population
from fedlearn.experiment.shared import encoding_of, gradient_noise, shares_noise
from fedlearn.privacy.accounting import calibrate_composition, calibrate_noise
from fedlearn.privacy.cohort_noise import CohortNoise
from fedlearn.privacy.events import SampledGaussianEvent
from fedlearn.privacy.ledger import Budget
from fedlearn.rounds.protection import Protection, SecureSum
from fedlearn.secagg.fixed_point import FixedPoint
from fedlearn.secagg.parameters import SessionParameters, parameters
from fedlearn.secagg.roster import Roster
from fedlearn.training.batches import StepPlan
from fedlearn.training.private import RecordPrivacy


@dataclass(frozen=True, kw_only=True)
class Enrolment:
    """The identities of a federation that one owner sets up: a simulation's.

    Attributes:
      keys: each client's signing key.
      roster: all their public halves.
    """

    keys: Mapping[str, SigningKey]
    roster: Roster

    @classmethod
    def of(cls, clients: Mapping[str, object]) -> Enrolment:
        """Returns fresh keys for the clients, from the operating system."""
        keys = {name: SigningKey.generate() for name in clients}
        return cls(keys=keys, roster=Roster(version=1, members={n: k.public for n, k in keys.items()}))


def cohort_size(config: ExperimentConfig, population: Population) -> int:
    """Returns the number of clients in a cohort (its expectation, if cohorts are Poisson), at least 1."""
    # Halves go up; round() would send them to the even neighbour.
    return max(1, int(config.cohort.fraction * len(population.clients) + 0.5))


def weights(config: ExperimentConfig, population: Population) -> dict[str, float]:
    """Returns each client's public weight in (0, 1]: by declared size, or 1 for all."""
    if config.aggregation.weights == "uniform":
        return dict.fromkeys(population.clients, 1.0)
    return declared_weights(population)


def declared_weights(population: Population) -> dict[str, float]:
    """Returns each client's declared size over the largest one, in (0, 1]."""
    largest = max(client.declared_size for client in population.clients.values())
    return {name: client.declared_size / largest for name, client in population.clients.items()}


def secure_sum(
    config: ExperimentConfig,
    population: Population,
    roster: Roster,
    *,
    dimension: int,
    besides: tuple[SampledGaussianEvent, ...] = (),
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
    numbers = session_parameters(config, cohort_size(config, population))
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
    besides: tuple[SampledGaussianEvent, ...] = (),
) -> dict[str, Protection]:
    """Returns each client's protection in every round; ``besides`` is charged to the same ε.

    Raises:
      PrivacyError: δ is too large for a client, or no noise meets its ε; names the client.
    """
    public_weights = weights(config, population)
    return {
        name: _protection(
            config,
            name,
            client.declared_size,
            weight=public_weights[name],
            secure=secure,
            besides=besides,
        )
        for name, client in population.clients.items()
    }


def _protection(
    config: ExperimentConfig,
    name: str,
    declared_size: int,
    *,
    weight: float,
    secure: SecureSum | None,
    besides: tuple[SampledGaussianEvent, ...],
) -> Protection:
    plan = StepPlan.of(config.training, declared_size=declared_size)
    record = None
    if config.privacy.enabled:
        check_delta(config.privacy, name, declared_size)
        record = RecordPrivacy(
            noise_multiplier=(
                _noise_multiplier(config, name, plan, besides)
                if secure is None or secure.noise is None
                else secure.noise.noise_multiplier
            ),
            max_grad_norm=config.privacy.max_grad_norm,
            sample_rate=plan.sample_rate,
            declared_size=declared_size,
        )
    return Protection(
        weight=weight, plan=plan, record=record, secure=secure, budget=budget_of(config.privacy)
    )


def budget_of(privacy: PrivacyConfig) -> Budget | None:
    """Returns what a client refuses to exceed; None where the noise is given and ε follows from it."""
    if not privacy.enabled or privacy.epsilon is None:
        return None
    return Budget(epsilon=privacy.epsilon, delta=privacy.delta)


def check_delta(privacy: PrivacyConfig, name: str, declared_size: int) -> None:
    """Raises PrivacyError unless δ is below one over the declared size: else it allows a plain leak."""
    if privacy.delta * declared_size >= 1:
        raise PrivacyError(
            f"privacy.delta={privacy.delta} allows the publication of one of client {name!r}'s"
            f" {declared_size} records; it must be below {1 / declared_size:.3g}"
        )


def _noise_multiplier(
    config: ExperimentConfig, name: str, plan: StepPlan, besides: tuple[SampledGaussianEvent, ...]
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
