"""How the updates of an experiment are made shorter, and what that goes together with."""

from __future__ import annotations

from fedlearn.aggregators.accumulator import Aggregator
from fedlearn.compression import COMPRESSORS
from fedlearn.compression.compressor import Compressor
from fedlearn.config import ExperimentConfig
from fedlearn.errors import ConfigError, NonLinearAggregator, PrivacyError
from fedlearn.experiment.client_level import protects_clients
from fedlearn.experiment.shared import shares_noise


def compressor_of(config: ExperimentConfig) -> Compressor | None:
    """Returns what makes updates shorter; None if they are sent whole.

    Raises:
      UnknownName: no such compressor.
      ConfigError: an argument that it does not take, or error feedback without one.
    """
    wanted = config.compression
    if wanted.name is not None:
        compressor: Compressor = COMPRESSORS.build(wanted.name, wanted.arguments)
        return compressor
    if wanted.error_feedback or wanted.arguments:
        raise ConfigError(
            "compression.error_feedback or arguments without compression.name: nothing is left unsent; name a"
            " compressor, or leave them out"
        )
    return None


def check_compression(
    config: ExperimentConfig, compressor: Compressor | None, aggregator: Aggregator
) -> None:
    """Raises what an experiment may not ask of its compressor, with the reason and the way out.

    Raises:
      ConfigError: payloads would have to be added up that do not add up.
      PrivacyError: a bound that noise is made for would not hold.
      NonLinearAggregator: updates would be compared of which most coordinates are missing.
    """
    if compressor is None:
        return
    given = f"compression.name={config.compression.name!r}"
    noisy = protects_clients(config) or shares_noise(config)
    if noisy and not compressor.summable:
        raise PrivacyError(
            f"{given} before noise: what comes back of a clipped vector may be longer than the clipping norm"
            " that the noise is made for; use 'random-k', which lengthens none, or privacy.noise='local',"
            " whose noise is in the update before it is compressed"
        )
    if config.secure_aggregation.enabled and not compressor.summable:
        raise ConfigError(
            f"{given} under secure aggregation: each client's payload has a form of its own, and masked"
            " payloads of different forms cannot be added up; use 'random-k', whose coordinates all clients"
            " share, and secure_aggregation.modulus_bits=16 for 2 bytes each"
        )
    if noisy and config.compression.error_feedback:
        raise PrivacyError(
            f"{given} with compression.error_feedback=true before noise: what a client keeps back adds up"
            " over rounds without noise, and no bound on one round's vector covers it; set it to false, or"
            " privacy.noise='local'"
        )
    if not compressor.unbiased and not config.compression.error_feedback and not aggregator.linear:
        raise NonLinearAggregator(
            f"{given} with aggregation.name={config.aggregation.name!r}: it compares coordinates of which"
            " most clients sent none; use 'weighted-mean' or 'random-k'"
        )
