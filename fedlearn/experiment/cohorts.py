"""Who is in a round, how many, and the parameters of their secure sums.

Everything derives from public values: the configuration, the seed and the number of clients.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from fedlearn.config import ExperimentConfig
from fedlearn.experiment.population import Population
from fedlearn.privacy.sampling import CohortSampling
from fedlearn.secagg.parameters import SessionParameters, parameters

_DEVIATIONS = 6.0


def cohort_size(config: ExperimentConfig, population: Population) -> int:
    """Returns how many clients a round needs, at least 1; their expectation, if cohorts are Poisson."""
    return _needed(config, len(population.clients))


def _needed(config: ExperimentConfig, clients: int) -> int:
    # Halves go up; round() would send them to the even neighbour.
    return max(1, int(config.cohort.fraction * clients + 0.5))


def selected(config: ExperimentConfig, clients: int) -> int:
    """Returns how many clients a round of a fixed cohort asks: with over-selection more than it needs."""
    return min(clients, math.ceil(_needed(config, clients) * config.cohort.over_selection - 1e-9))


def cohort_of(config: ExperimentConfig, ordered: Sequence[str], round: int) -> tuple[str, ...]:
    """Returns the clients that a round asks, sorted; decided by seed and round alone, so public.

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
        count = selected(config, len(ordered))
        chosen = np.sort(rng.choice(len(ordered), size=count, replace=False))
    return tuple(ordered[index] for index in chosen.tolist())


def is_poisson(config: ExperimentConfig) -> bool:
    """Returns whether the size of a cohort is left to chance."""
    return config.cohort.sampling == "poisson" and config.cohort.fraction < 1


def largest_cohort(config: ExperimentConfig, population: Population) -> int:
    """Returns the most clients that a round is made for; a Poisson cohort is larger with odds of 10⁻⁹."""
    if not is_poisson(config):
        return selected(config, len(population.clients))
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


def session_parameters(config: ExperimentConfig, clients: int) -> SessionParameters:
    """Returns the parameters of sessions with that many clients; raises ConfigError if there are none."""
    wanted = config.secure_aggregation
    return parameters(
        clients, colluders=wanted.colluders, dropout=wanted.dropout, min_survivors=wanted.min_survivors
    )
