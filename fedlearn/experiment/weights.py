"""What each client counts for in the mean: a public number, by what it declares."""

from __future__ import annotations

from collections.abc import Mapping

from fedlearn.config import ExperimentConfig
from fedlearn.experiment.population import Population


def weights(config: ExperimentConfig, population: Population) -> Mapping[str, float]:
    """Returns each client's public weight in (0, 1]: by declared size, or 1 for all."""
    if config.aggregation.weights == "uniform":
        return population.for_each(lambda name: 1.0)
    return declared_weights(population)


def declared_weights(population: Population) -> Mapping[str, float]:
    """Returns each client's declared size over the largest one, in (0, 1]."""
    clients, largest = population.clients, population.largest_declared_size
    return population.for_each(lambda name: clients[name].declared_size / largest)
