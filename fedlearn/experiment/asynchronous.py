"""Asynchronous rounds of an experiment: what they go together with, and their server."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fedlearn.aggregators.accumulator import Aggregator
from fedlearn.aggregators.weighted_mean import WeightedMean
from fedlearn.algorithms.local_rule import LocalRule
from fedlearn.config import ExperimentConfig
from fedlearn.errors import ConfigError, NonLinearAggregator, PrivacyError
from fedlearn.experiment.client_level import protects_clients
from fedlearn.rounds.buffered import BufferedServer
from fedlearn.rounds.flights import Flights
from fedlearn.rounds.server import RoundServer

if TYPE_CHECKING:
    from fedlearn.experiment.setup import RunSetup


def check_asynchronous(config: ExperimentConfig, rule: LocalRule, aggregator: Aggregator) -> None:
    """Raises what an experiment may not ask of asynchronous rounds, with the reason and the way out.

    Raises:
      ConfigError: no clock, secure aggregation, cohorts, or an algorithm whose clients and server agree.
      PrivacyError: client-level DP.
      NonLinearAggregator: updates of different models would be compared.
    """
    if not config.asynchronous.enabled:
        return
    cohort = config.cohort
    if protects_clients(config):
        raise PrivacyError(
            "asynchronous.enabled=true with privacy.unit='client': the noise is made for one vector of each"
            " client in a sum of a known size, and a buffer mixes clients by their speed; use"
            " privacy.unit='record' with noise='local', or rounds with cohorts"
        )
    if not isinstance(aggregator, WeightedMean):
        raise NonLinearAggregator(
            f"asynchronous.enabled=true with aggregation.name={config.aggregation.name!r}: updates of a"
            " buffer come from different models, and comparing them says little; use 'weighted-mean'"
        )
    refusals = {
        "fleet.enabled=false: without a simulated clock nobody is faster than others; enable it":
            not config.fleet.enabled,
        "secure_aggregation.enabled=true: masks cancel in the sum of one cohort that takes every step"
        " together, which a buffer filled one by one is not; switch one of them off":
            config.secure_aggregation.enabled,
        f"algorithm.name={config.algorithm.name!r}: its server keeps the mean of what clients keep, as of one"
        " model; use 'fedavg', 'fedprox' or 'fedadam'": rule.remembers,
        "cohort.fraction or over_selection: clients take part as they become free, in no cohort; leave both"
        " out, and set asynchronous.concurrency": cohort.fraction != 1 or cohort.over_selection != 1,
    }  # fmt: skip
    for refusal, refused in refusals.items():
        if refused:
            raise ConfigError(f"asynchronous.enabled=true with {refusal}")


def buffered(
    setup: RunSetup, server: RoundServer, observe: Callable[[int, int, int], None]
) -> BufferedServer:
    """Returns the server of asynchronous rounds.

    Raises:
      ConfigError: a buffer or a concurrency larger than the population.
    """
    experiment, work = setup.experiment, setup.work
    config, names = experiment.config, experiment.population.names
    wanted = config.asynchronous
    for key in ("buffer", "concurrency"):
        if getattr(wanted, key) > len(names):
            raise ConfigError(
                f"asynchronous.{key}={getattr(wanted, key)} exceeds the {len(names)} clients of the"
                " experiment; lower it to at most that"
            )
    if work is None:
        raise ConfigError("asynchronous.enabled=true with fleet.enabled=false: enable it")
    private = config.privacy.enabled
    return BufferedServer(
        server,
        Flights(
            names,
            fleet=work.fleet,
            seconds=work.round_seconds,
            concurrency=wanted.concurrency,
            seed=config.seed,
            patience=config.cohort.deadline_seconds,
        ),
        buffer=wanted.buffer,
        staleness_exponent=wanted.staleness_exponent,
        # Who is in flight at the end sends its update all the same: its records are charged for it.
        last=config.rounds - 1 if private else None,
        observe=observe,
    )
