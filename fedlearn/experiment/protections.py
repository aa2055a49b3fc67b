"""What protects each client in every round, and the bounds that its records hold it to."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fedlearn.config import ExperimentConfig, PrivacyConfig
from fedlearn.errors import DeltaTooLarge, PrivacyError
from fedlearn.experiment.population import Population
from fedlearn.experiment.weights import weights
from fedlearn.privacy.budget import Budget
from fedlearn.privacy.calibration import calibrate_composition, calibrate_noise
from fedlearn.privacy.events import Event, SampledGaussianEvent
from fedlearn.privacy.mechanisms import ClientMechanism
from fedlearn.rounds.protection import Protection, SecureSum
from fedlearn.training.batches import StepPlan
from fedlearn.training.record_privacy import RecordPrivacy


def protections(
    config: ExperimentConfig,
    population: Population,
    secure: SecureSum | None,
    *,
    besides: Callable[[str], tuple[Event, ...]] = lambda name: (),
    mechanism: ClientMechanism | None = None,
    budget: Budget | None = None,
    added: int = 0,
) -> Mapping[str, Protection]:
    """Returns each client's protection in every round.

    Args:
      config: the experiment.
      population: its clients.
      secure: how updates are summed; None in the clear.
      besides: client → what is charged to the same ε.
      mechanism: of client-level DP; None without.
      added: public number of records that each client trains on beside its own.
      budget: what a client refuses to exceed over all stages of the run; None: it counts rounds.

    Raises:
      PrivacyError: δ is too large for a client, or no noise meets its ε; names the client.
    """
    public_weights, clients = weights(config, population), population.clients

    def made_for(name: str) -> Protection:
        declared_size = clients[name].declared_size
        trained = declared_size + added
        plan = StepPlan.of(config.training, declared_size=trained)
        record = None
        if config.privacy.enabled and mechanism is None:
            check_delta(config.privacy, name, declared_size)
            shared = None if secure is None else secure.noise
            record = RecordPrivacy(
                noise_multiplier=shared.noise_multiplier
                if shared
                else _noise_multiplier(config, name, plan, besides(name)),
                max_grad_norm=config.privacy.max_grad_norm,
                sample_rate=plan.sample_rate,
                declared_size=trained,
            )
        return Protection(
            weight=public_weights[name],
            plan=plan,
            record=record,
            mechanism=mechanism,
            secure=secure,
            budget=budget,
        )

    return population.for_each(made_for)


def budget_of(privacy: PrivacyConfig) -> Budget | None:
    """Returns what a client refuses to exceed; None where the noise is given and ε follows from it.

    None also where ε holds against outsiders only: a client counts what it spends against everyone.
    """
    if not privacy.enabled or privacy.epsilon is None or privacy.against == "outsiders":
        return None
    return Budget(epsilon=privacy.epsilon, delta=privacy.delta, unit=privacy.unit)


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
