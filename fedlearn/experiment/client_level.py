"""Client-level DP of an experiment: what it may ask for, and the mechanism that follows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from fedlearn.aggregators.accumulator import Aggregator
from fedlearn.aggregators.weighted_mean import WeightedMean
from fedlearn.config import ExperimentConfig
from fedlearn.errors import (
    ConfigError,
    DeltaTooLarge,
    NonLinearAggregator,
    PrivacyError,
    SamplerMismatch,
    SecureAggregationNeeded,
    TargetUnreachable,
    UnboundedWeights,
)
from fedlearn.privacy.accounting import epsilon
from fedlearn.privacy.calibration import calibrate_noise
from fedlearn.privacy.clipping import QuantileTracker
from fedlearn.privacy.distributed import DistributedGaussian
from fedlearn.privacy.events import Event
from fedlearn.privacy.guarantee import format_epsilon
from fedlearn.privacy.mechanisms import CentralGaussian, ClientMechanism, ClippedSum
from fedlearn.privacy.sampling import CohortSampling
from fedlearn.secagg.fixed_point import FixedPoint
from fedlearn.secagg.parameters import SessionParameters

_BITS_NOISE_SHARE = 0.1
_LEAST_BIT_NOISE = 3.0
_STEP_UP = 1.002
_MOST_STEPS_UP = 500


def protects_clients(config: ExperimentConfig) -> bool:
    """Returns whether the experiment promises client-level DP."""
    return config.privacy.enabled and config.privacy.unit == "client"


def is_distributed(config: ExperimentConfig) -> bool:
    """Returns whether clients share the noise of client-level DP."""
    return protects_clients(config) and config.privacy.noise == "distributed"


def check_client_level(config: ExperimentConfig, aggregator: Aggregator) -> None:
    """Raises what an experiment may not ask of client-level DP, with the reason and the way out.

    Raises:
      NonLinearAggregator: one client's influence on the aggregate has no bound that noise is made for.
      SecureAggregationNeeded: clients share the noise, in the clear.
      UnboundedWeights: weights follow from private numbers of records.
      SamplerMismatch: amplification is asked for that the cohorts do not earn.
      ConfigError: parts that have no meaning here.
    """
    privacy = config.privacy
    if not protects_clients(config):
        _check_record_level(config)
        return
    if privacy.noise == "local":
        raise ConfigError(
            "privacy.unit='client' with privacy.noise='local': noise that hides a whole client in its own"
            " update leaves nothing to learn from; set privacy.noise='central' or 'distributed'"
        )
    if not isinstance(aggregator, WeightedMean):
        raise NonLinearAggregator(
            f"aggregation.name={config.aggregation.name!r} under client-level DP: the noise is made for a"
            " sum of clipped updates, and nothing else bounds one client's influence; use 'weighted-mean'"
        )
    if config.aggregation.weights == "declared" and config.data.declared_size is None:
        raise UnboundedWeights(
            "aggregation.weights='declared' without data.declared_size: weights would follow from each"
            " client's true number of records, which client-level DP protects; set"
            " aggregation.weights='uniform', or declare sizes"
        )
    if privacy.against == "outsiders" and config.cohort.sampling != "poisson":
        raise SamplerMismatch(
            f"privacy.against='outsiders' with cohort.sampling={config.cohort.sampling!r}: only Poisson"
            " cohorts earn amplification; set cohort.sampling='poisson', or privacy.against='everyone'"
        )
    if config.data.standardise == "federated" and privacy.statistics == "charged":
        raise ConfigError(
            "data.standardise='federated' with privacy.unit='client': its statistics are bounded and"
            " charged for each record, not for each client; set data.standardise='public', or"
            " privacy.statistics='declared'"
        )
    if privacy.noise == "distributed":
        _check_distributed(config)


def _check_record_level(config: ExperimentConfig) -> None:
    privacy = config.privacy
    if privacy.enabled and privacy.noise == "central":
        raise ConfigError(
            "privacy.unit='record' with privacy.noise='central': the server has no records to clip; set"
            " privacy.noise='local' or 'distributed', or privacy.unit='client'"
        )
    if privacy.enabled and privacy.against == "outsiders":
        raise SamplerMismatch(
            "privacy.against='outsiders' with privacy.unit='record': drawing clients amplifies nothing for"
            " their records; leave privacy.against='everyone'"
        )


def _check_distributed(config: ExperimentConfig) -> None:
    if not config.secure_aggregation.enabled:
        raise SecureAggregationNeeded(
            "privacy.noise='distributed' with secure_aggregation.enabled=false: one client's part of the"
            " noise is a fraction of what protects it; set it to true, or privacy.noise='central'"
        )
    if config.secure_aggregation.fractional_bits is not None:
        raise ConfigError(
            f"secure_aggregation.fractional_bits={config.secure_aggregation.fractional_bits} with"
            " privacy.noise='distributed': the resolution follows from noise and ring; leave it out"
        )


@dataclass(frozen=True, kw_only=True)
class PublicNumbers:
    """What a client-level mechanism is made from: all of it public.

    Attributes:
      weights: public weight of each client, in (0, 1].
      cohort: expected number of clients in a cohort.
      dimension: number of parameters.
      participations: the most rounds that any client may be in.
      session: parameters of secure aggregation; None in the clear.
      sampling: how cohorts are drawn.
    """

    weights: Mapping[str, float]
    cohort: float
    dimension: int
    participations: int
    session: SessionParameters | None
    sampling: CohortSampling


def client_mechanism(config: ExperimentConfig, numbers: PublicNumbers) -> ClientMechanism:
    """Returns the mechanism, calibrated if the experiment gives an ε.

    Raises:
      DeltaTooLarge: δ is not below one over the number of clients.
      TargetUnreachable: no noise meets the ε.
      RingTooSmall: the ring leaves too few steps for the signal.
    """
    privacy, clients = config.privacy, len(numbers.weights)
    if privacy.delta * clients >= 1:
        raise DeltaTooLarge(
            f"privacy.delta={privacy.delta} allows the publication of one of {clients} clients; it must be"
            f" below {1 / clients:.3g}"
        )

    def of(noise_multiplier: float) -> ClientMechanism:
        return _mechanism(config, numbers, noise_multiplier)

    if privacy.noise_multiplier is not None:
        return of(privacy.noise_multiplier)
    if privacy.epsilon is None:
        raise PrivacyError("neither privacy.epsilon nor privacy.noise_multiplier is given")
    return _calibrated(config, numbers, of, target=privacy.epsilon)


def _calibrated(
    config: ExperimentConfig,
    numbers: PublicNumbers,
    of: Callable[[float], ClientMechanism],
    *,
    target: float,
) -> ClientMechanism:
    """Returns the mechanism of least noise: that of the Gaussian it is near to, and a little more."""
    delta, outsiders = config.privacy.delta, config.privacy.against == "outsiders"
    noise = calibrate_noise(
        epsilon=target,
        delta=delta,
        sample_rate=numbers.sampling.rate if outsiders else 1.0,
        steps=config.rounds if outsiders else numbers.participations,
    )
    for _ in range(_MOST_STEPS_UP):
        mechanism = of(noise)
        one = mechanism.event()
        event: Event = (
            replace(numbers.sampling.amplified(one), steps=config.rounds)
            if outsiders
            else replace(one, steps=numbers.participations)
        )
        spent = epsilon([event], delta=delta)
        if spent <= target:
            return mechanism
        noise *= _STEP_UP
    raise TargetUnreachable(
        f"epsilon={target:g} at delta={delta:g} is out of reach: noise_multiplier={noise:.4g} still spends"
        f" {format_epsilon(spent)}, because rounds may be void (odds {numbers.sampling.truncation:.2g}"
        " each) or noise is only nearly Gaussian; raise cohort.fraction, or lower"
        " secure_aggregation.min_survivors"
    )


def _mechanism(config: ExperimentConfig, numbers: PublicNumbers, noise_multiplier: float) -> ClientMechanism:
    secure = config.secure_aggregation
    sums = ClippedSum(
        noise_multiplier=noise_multiplier,
        clip_norm=config.privacy.clip_norm,
        dimension=numbers.dimension,
        expected_weight=numbers.cohort * sum(numbers.weights.values()) / len(numbers.weights),
        expected_clients=numbers.cohort,
        tracker=_tracker(config, numbers, noise_multiplier),
    )
    if numbers.session is None:
        return CentralGaussian(sums=sums)
    if not is_distributed(config):
        encoding = unit_encoding(config, numbers.session)
        return CentralGaussian(sums=sums, resolution=math.ldexp(1.0, -encoding.fractional_bits))
    return DistributedGaussian(
        sums=sums,
        modulus_bits=secure.modulus_bits,
        clients=numbers.session.clients,
        min_survivors=numbers.session.min_survivors,
        colluders=numbers.session.colluders,
    )


def _tracker(
    config: ExperimentConfig, numbers: PublicNumbers, noise_multiplier: float
) -> QuantileTracker | None:
    privacy = config.privacy
    if privacy.clip_quantile is None:
        return None
    # Andrew et al. (2021, section 3.1) take n/20 for bits of ±½, so n/10 for ±1; a small cohort needs more,
    # or the bit would take most of what the update may spend.
    usual = max(_BITS_NOISE_SHARE * numbers.cohort, _LEAST_BIT_NOISE * noise_multiplier)
    return QuantileTracker(
        quantile=privacy.clip_quantile,
        learning_rate=privacy.clip_learning_rate,
        bit_stddev=usual if privacy.clip_bit_stddev is None else privacy.clip_bit_stddev,
    )


def unit_encoding(config: ExperimentConfig, session: SessionParameters) -> FixedPoint:
    """Returns the fixed point of clipped updates in units of C, whose exact sum the server noises."""
    secure = config.secure_aggregation
    return FixedPoint.for_exact_sum(
        clients=session.clients,
        value_range=1.0,
        modulus_bits=secure.modulus_bits,
        fractional_bits=secure.fractional_bits,
    )


def integer_encoding(modulus_bits: int, *, clients: int) -> FixedPoint:
    """Returns the encoding of vectors that are integers already; sums may wrap, which costs accuracy only."""
    return FixedPoint(
        modulus_bits=modulus_bits,
        fractional_bits=0,
        value_range=2.0 ** (modulus_bits - 1) - 1.0,
        clients=clients,
    )
