"""The machines of an experiment's clients, and what it may ask of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedlearn.config import ExperimentConfig, FleetConfig
from fedlearn.errors import ConfigError
from fedlearn.experiment.cohorts import cohort_size, largest_cohort, session_parameters
from fedlearn.experiment.population import Population
from fedlearn.fleet import DrawnFleet, Fleet, Pace, read_trace

if TYPE_CHECKING:
    from fedlearn.experiment.experiment import Experiment


def fleet_of(experiment: Experiment) -> Fleet | None:
    """Returns the machines of the clients; None if no simulated time passes.

    Raises:
      DataError: the trace breaks its schema, or a client is not in it.
    """
    config = experiment.config.fleet
    if not config.enabled:
        return None
    if experiment.fleet is not None:
        return experiment.fleet
    if config.trace is None:
        return _drawn(config, seed=experiment.config.seed)
    trace = read_trace(config.trace, repeats=config.trace_repeats)
    trace.check_covers(experiment.population.names, source=config.trace)
    return trace


def _drawn(config: FleetConfig, *, seed: int) -> DrawnFleet:
    return DrawnFleet(
        seed=seed,
        median=Pace(
            records_per_second=config.records_per_second,
            upload_bytes_per_second=config.upload_bytes_per_second,
            download_bytes_per_second=config.download_bytes_per_second,
        ),
        speed_spread=config.speed_spread,
        bandwidth_spread=config.bandwidth_spread,
        online_seconds=config.online_seconds,
        offline_seconds=config.offline_seconds,
    )


def enough(config: ExperimentConfig, population: Population) -> int | None:
    """Returns how many of a round's clients end it, where it asks more than it needs; None waits for all.

    Raises:
      ConfigError: secure aggregation would not reveal a sum of so few of those who are asked.
    """
    if config.cohort.over_selection == 1:
        return None
    needed = cohort_size(config, population)
    if config.secure_aggregation.enabled:
        asked = largest_cohort(config, population)
        floor = session_parameters(config, asked).min_survivors
        if needed < floor:
            raise ConfigError(
                f"cohort.over_selection={config.cohort.over_selection:g} asks {asked} clients and ends with"
                f" {needed}, below the {floor} that secure aggregation of {asked} needs; lower it to at most"
                f" {needed / floor * config.cohort.over_selection:.2f}, or raise cohort.fraction"
            )
    return needed


def check_fleet(config: ExperimentConfig, *, own: bool) -> None:
    """Raises ConfigError for what has no meaning with the machines of the clients, or without them.

    Args:
      config: the experiment.
      own: whether the machines are given as an object.
    """
    fleet, cohort = config.fleet, config.cohort
    if own and not fleet.enabled:
        raise ConfigError("fleet is given as an object, and fleet.enabled=false ignores it: set it to true")
    if cohort.over_selection == 1:
        return
    asked = f"cohort.over_selection={cohort.over_selection:g}"
    refusals = {
        "fleet.enabled=false: without a simulated clock nobody is faster than others; enable it":
            not fleet.enabled,
        "cohort.sampling='poisson': such a cohort has no size to be exceeded; use 'fixed', or a larger"
        " cohort.fraction": cohort.sampling == "poisson",
        "cohort.fraction=1: everybody is asked already; lower it": cohort.fraction == 1,
    }  # fmt: skip
    for refusal, refused in refusals.items():
        if refused:
            raise ConfigError(f"{asked} with {refusal}")
