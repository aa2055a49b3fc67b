"""The numbers that an experiment commits to: weights, noise and secure-aggregation parameters.

All of them derive from public values: the configuration and the declared sizes. None from a record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fedlearn.config import ExperimentConfig, PrivacyConfig
from fedlearn.crypto.identity import SigningKey
from fedlearn.errors import PrivacyError
from fedlearn.experiment.population import Population
from fedlearn.privacy.accounting import calibrate_noise
from fedlearn.privacy.ledger import Budget
from fedlearn.rounds.protection import Protection, SecureSum
from fedlearn.secagg.fixed_point import FixedPoint
from fedlearn.secagg.parameters import parameters
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
    largest = max(client.declared_size for client in population.clients.values())
    return {name: client.declared_size / largest for name, client in population.clients.items()}


def secure_sum(config: ExperimentConfig, population: Population, roster: Roster) -> SecureSum | None:
    """Returns how updates are summed securely; None if the experiment does not ask for it.

    Raises:
      ConfigError: no parameters satisfy the rules for this cohort, or the sum could overflow.
    """
    wanted = config.secure_aggregation
    if not wanted.enabled:
        return None
    clients = cohort_size(config, population)
    public_weights = weights(config, population)
    return SecureSum(
        mode=wanted.mode,
        parameters=parameters(
            clients,
            colluders=wanted.colluders,
            dropout=wanted.dropout,
            min_survivors=wanted.min_survivors,
        ),
        encoding=FixedPoint.for_exact_sum(
            clients=clients,
            max_weight=max(public_weights.values()),
            value_range=wanted.value_range,
            modulus_bits=wanted.modulus_bits,
            fractional_bits=wanted.fractional_bits,
        ),
        roster=roster,
        weights=tuple(sorted(public_weights.items())),
    )


def protections(
    config: ExperimentConfig, population: Population, secure: SecureSum | None
) -> dict[str, Protection]:
    """Returns each client's protection in every round.

    Raises:
      PrivacyError: δ is too large for a client, or no noise meets its ε; names the client.
    """
    public_weights = weights(config, population)
    return {
        name: _protection(config, name, client.declared_size, public_weights[name], secure)
        for name, client in population.clients.items()
    }


def _protection(
    config: ExperimentConfig, name: str, declared_size: int, weight: float, secure: SecureSum | None
) -> Protection:
    plan = StepPlan.of(config.training, declared_size=declared_size)
    record = None
    if config.privacy.enabled:
        check_delta(config.privacy, name, declared_size)
        record = RecordPrivacy(
            noise_multiplier=_noise_multiplier(config, name, plan),
            max_grad_norm=config.privacy.max_grad_norm,
            sample_rate=plan.sample_rate,
            declared_size=declared_size,
        )
    return Protection(weight=weight, plan=plan, record=record, secure=secure, budget=_budget(config.privacy))


def _budget(privacy: PrivacyConfig) -> Budget | None:
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


def _noise_multiplier(config: ExperimentConfig, name: str, plan: StepPlan) -> float:
    privacy = config.privacy
    if privacy.noise_multiplier is not None:
        return privacy.noise_multiplier
    if privacy.epsilon is None:
        raise PrivacyError(f"client {name!r}: neither privacy.epsilon nor privacy.noise_multiplier is given")
    return calibrate_noise(
        epsilon=privacy.epsilon,
        delta=privacy.delta,
        sample_rate=plan.sample_rate,
        steps=plan.steps * config.rounds,
    )
