"""Experiments derived from one: federations of the same clients that run before its first round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import nn

from fedlearn.config import ExperimentConfig
from fedlearn.errors import DataError
from fedlearn.experiment.population import ClientData, Population
from fedlearn.experiment.remedies import kind_of
from fedlearn.training.objective import Loss

if TYPE_CHECKING:
    from fedlearn.experiment.experiment import Experiment


def check_values_in_memory(population: Population, *, remedy: str, does: str) -> None:
    """Raises for records that a stage cannot learn the values of.

    Args:
      population: the experiment's.
      remedy: its table, for the error.
      does: what it does to values, for the error.

    Raises:
      DataError: texts, or clients that only a function describes.
    """
    if kind_of(population) == "text" or population.virtual:
        what = "clients that a function describes" if population.virtual else "texts"
        raise DataError(
            f"remedies.{remedy} {does} the values of records held in memory, not of {what};"
            f" set remedies.{remedy}.rounds=0"
        )


def experiment_before(
    experiment: Experiment,
    *,
    config: ExperimentConfig,
    model: Callable[[], nn.Module],
    data: Callable[[ClientData], ClientData],
    loss: Loss | None = None,
) -> Experiment:
    """Returns an experiment over the same clients, with its own model and records, and no test set.

    Args:
      experiment: what is trained afterwards.
      config: of the stage.
      model: builds its model.
      data: a client's data → what the stage trains on.
      loss: what it minimises; None: what its configuration names.
    """
    population = experiment.population
    clients = {name: data(own) for name, own in population.clients.items()}
    return replace(
        experiment,
        config=config,
        model=model,
        clients=None,
        test=None,
        loss=loss,
        metrics=None,
        known=replace(population, clients=clients, test=None, shape=None),
    )
