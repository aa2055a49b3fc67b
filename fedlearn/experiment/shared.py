"""Releases whose noise the cohort shares: what an experiment may ask of them, and their numbers.

Everything comes from public values. Federated DP-SGD is one step a round: each client gives its clipped
gradient sum, the cohort the noise, and the server takes the step on their total over the public
expected batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

from fedlearn.config import ExperimentConfig
from fedlearn.errors import ConfigError, PrivacyError
from fedlearn.privacy.calibration import calibrate_composition
from fedlearn.privacy.cohort_noise import CohortNoise, finest_resolution
from fedlearn.privacy.events import Event
from fedlearn.secagg.fixed_point import FixedPoint
from fedlearn.secagg.parameters import SessionParameters
from fedlearn.training.batches import StepPlan

_MOST_BITS = 52


def shares_noise(config: ExperimentConfig) -> bool:
    """Returns whether training is federated DP-SGD under noise that the cohort shares."""
    privacy = config.privacy
    return privacy.enabled and privacy.unit == "record" and privacy.noise == "distributed"


def check_shared_noise(config: ExperimentConfig) -> None:
    """Raises what an experiment with shared noise may not ask for, with the reason and the way out.

    Raises:
      PrivacyError: more than one local step a round.
      ConfigError: no secure aggregation, a ring that is too small, or parts without a meaning here.
    """
    if not shares_noise(config):
        return
    _check_steps(config)
    training, secure = config.training, config.secure_aggregation
    refusals = {
        "secure_aggregation.enabled=false: one client's share of the noise protects nobody by itself;"
        " set it to true, or privacy.noise='local'": not secure.enabled,
        f"secure_aggregation.modulus_bits={secure.modulus_bits}: a sum of gradients with its noise needs a"
        " ring of 2^32; set 32": secure.modulus_bits != 32,
        "secure_aggregation.fractional_bits is given: with shared noise the resolution follows from"
        " the noise; leave it out": secure.fractional_bits is not None,
        f"training.batch_size={training.batch_size} gives each client a sample rate of its own, and its"
        " records a weight of their own; give training.sample_rate, or neither for all records":
            training.batch_size is not None,
        f"training.optimizer={training.optimizer!r}, momentum={training.momentum:g}, weight_decay="
        f"{training.weight_decay:g}: the server takes the step, clients send gradients; leave plain sgd and"
        " choose algorithm.name='fedavgm' or 'fedadam'":
            training.optimizer != "sgd" or training.momentum > 0 or training.weight_decay > 0,
        "aggregation.weights='uniform': a sum of gradients counts every record alike; leave 'declared'":
            config.aggregation.weights != "declared",
    }  # fmt: skip
    for refusal, refused in refusals.items():
        if refused:
            raise ConfigError(f"privacy.noise='distributed' and {refusal}")


def _check_steps(config: ExperimentConfig) -> None:
    steps = StepPlan.of(config.training, declared_size=1).steps
    if steps != 1:
        raise PrivacyError(
            f"privacy.noise='distributed' and {steps} local steps a round: after the first, a record steers"
            " its own client's gradients under a fraction of the noise; set training.local_steps=1 and take"
            " more rounds"
        )


def gradient_noise(
    config: ExperimentConfig,
    *,
    parameters: SessionParameters,
    sizes: Iterable[int],
    dimension: int,
    besides: tuple[Event, ...],
) -> CohortNoise:
    """Returns the noise of the gradient sums, calibrated if the experiment gives an ε.

    Args:
      config: the experiment.
      parameters: of the session.
      sizes: declared sizes of all clients; the largest that fit into a cohort count.
      dimension: number of parameters.
      besides: what else is charged to the same ε.

    Raises:
      TargetUnreachable: no noise meets the ε.
    """
    rate = config.training.sample_rate or 1.0
    batch = rate * sum(sorted(sizes)[-parameters.clients :])
    sized = _sized(
        parameters=parameters,
        clip_norm=config.privacy.max_grad_norm,
        dimension=dimension,
        records=batch + 6.5 * math.sqrt(batch) + 10.0,
    )

    def events(noise_multiplier: float) -> tuple[Event, ...]:
        one = sized(noise_multiplier).event(sample_rate=rate)
        return (*besides, replace(one, steps=config.rounds))

    privacy = config.privacy
    if privacy.epsilon is None:
        if privacy.noise_multiplier is None:
            raise PrivacyError("neither privacy.epsilon nor privacy.noise_multiplier is given")
        return sized(privacy.noise_multiplier)
    return sized(calibrate_composition(events, epsilon=privacy.epsilon, delta=privacy.delta))


def moment_noise(
    config: ExperimentConfig,
    *,
    parameters: SessionParameters,
    sizes: Iterable[int],
    features: int,
    bound: float,
) -> CohortNoise:
    """Returns the noise of the sums behind federated standardisation.

    With local noise each client adds all of it, as it trusts no other.

    Args:
      config: the experiment; its statistics are charged.
      parameters: of the session.
      sizes: declared sizes of all clients.
      features: d; the sums have 2d coordinates.
      bound: L2 norm of one record's contribution.

    Raises:
      TargetUnreachable: no noise meets the ε of the statistics.
    """
    sized = _sized(
        parameters=parameters,
        clip_norm=bound,
        dimension=2 * features,
        records=float(sum(sizes)),
        alone=not shares_noise(config),
    )
    epsilon = statistics_epsilon(config)
    return sized(
        calibrate_composition(
            lambda noise_multiplier: (sized(noise_multiplier).event(),),
            epsilon=epsilon,
            delta=config.privacy.delta,
        )
    )


def statistics_epsilon(config: ExperimentConfig) -> float:
    """Returns the ε that the statistics spend by themselves.

    Raises:
      PrivacyError: it is not given and does not follow, or leaves nothing for training.
    """
    privacy = config.privacy
    if privacy.statistics_epsilon is None and privacy.epsilon is None:
        raise PrivacyError(
            "privacy.statistics_epsilon is missing: data.standardise='federated' releases sums over the"
            " records; give their ε, or privacy.statistics='declared'"
        )
    if privacy.statistics_epsilon is None:
        return (privacy.epsilon or 0.0) / 3.0
    if privacy.epsilon is not None and privacy.statistics_epsilon >= privacy.epsilon:
        raise PrivacyError(
            f"privacy.statistics_epsilon={privacy.statistics_epsilon:g} leaves nothing of privacy.epsilon="
            f"{privacy.epsilon:g} for training; lower it"
        )
    return privacy.statistics_epsilon


def encoding_of(noise: CohortNoise, *, clients: int, modulus_bits: int) -> FixedPoint:
    """Returns the fixed point in which sums with this noise travel; its range is the whole ring."""
    half = math.ldexp(1.0, modulus_bits - 1 - noise.fractional_bits)
    return FixedPoint(
        modulus_bits=modulus_bits,
        fractional_bits=noise.fractional_bits,
        value_range=half * (1.0 - 2.0**-20),
        clients=clients,
    )


def _sized(
    *, parameters: SessionParameters, clip_norm: float, dimension: int, records: float, alone: bool = False
) -> Callable[[float], CohortNoise]:
    """Returns noise multiplier → the noise, at the finest resolution for that many records."""
    fewest, colluders = (1, 0) if alone else (parameters.min_survivors, parameters.colluders)

    def of(noise_multiplier: float) -> CohortNoise:
        finest = finest_resolution(
            largest_sum=records * clip_norm,
            noise_multiplier=noise_multiplier,
            clip_norm=clip_norm,
            parts=parameters.clients,
            honest=fewest - colluders,
            modulus_bits=32,
        )
        return CohortNoise(
            noise_multiplier=noise_multiplier,
            clip_norm=clip_norm,
            dimension=dimension,
            fractional_bits=min(finest, _MOST_BITS),
            min_survivors=fewest,
            colluders=colluders,
        )

    return of
