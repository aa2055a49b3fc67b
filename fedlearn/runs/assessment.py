"""How good a model is, on the common test set and on each client's own held-out records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fedlearn._types import Vector
from fedlearn.experiment import Experiment
from fedlearn.experiment.setup import RunSetup
from fedlearn.runs.result import Metrics
from fedlearn.training.batches import RecordSet, size_of
from fedlearn.training.evaluate import evaluate
from fedlearn.training.memory import Elsewhere
from fedlearn.training.vector import FlatModel


def metrics_on(experiment: Experiment, model: FlatModel, records: RecordSet | None) -> Metrics:
    """Returns the experiment's metrics of a model; empty without records, None where undefined."""
    if records is None:
        return {}
    values = evaluate(model.module, records, experiment.metric_functions)
    return {name: None if math.isnan(value) else float(value) for name, value in values.items()}


def metrics_of_run(setup: RunSetup, model: FlatModel, vector: Vector, *, completed: int) -> Metrics:
    """Returns the metrics of a run's model on the common test set; empty if there is none.

    Where clients keep layers of their own there are as many models as clients: the mean over them, each
    on its own held-out records, weighted by their number; on the common ones where it has none. Empty,
    too, where the clients are other machines.

    Args:
      setup: the run.
      model: to load it into.
      vector: the parameters that travel, and constants behind them, if any.
      completed: number of rounds that are over.
    """
    experiment = setup.experiment
    if not setup.kept.split.names:
        model.load(vector)
        return metrics_on(experiment, model, experiment.population.test)
    if isinstance(setup.memory, Elsewhere):
        return {}
    common = None if experiment.config.tasks else experiment.population.test
    entries, sizes = [], []
    for name, data in experiment.population.clients.items():
        records = data.test if data.test is not None else common
        if records is not None:
            entries.append(_own_metrics(setup, model, vector, name, records, completed=completed))
            sizes.append(size_of(records, client=name))
    return weighted_mean(entries, sizes)


def _own_metrics(
    setup: RunSetup, model: FlatModel, vector: Vector, name: str, records: RecordSet, *, completed: int
) -> Metrics:
    """Returns the metrics of a client's own model, with the head and the metrics of its task."""
    part = setup.experiment.part_of(name)
    own = model if part is setup.experiment else part.build_model()
    own.load(part.kept(setup.memory).models(vector, completed=completed)(name))
    return metrics_on(part, own, records)


def weighted_mean(entries: Sequence[Metrics], weights: Sequence[float]) -> Metrics:
    """Returns the weighted mean of each metric over the entries where it is defined; empty without entries.

    >>> weighted_mean([{"auc": 1.0}, {"auc": None}, {"auc": 0.4}], [1, 9, 2])
    {'auc': 0.6}
    """
    means: Metrics = {}
    for metric in dict.fromkeys(metric for entry in entries for metric in entry):
        pairs = zip((entry.get(metric) for entry in entries), weights, strict=True)
        defined = [(value, weight) for value, weight in pairs if value is not None]
        total = math.fsum(weight for _, weight in defined)
        means[metric] = math.fsum(value * weight for value, weight in defined) / total if defined else None
    return means


def metrics_of_clients(
    setup: RunSetup, model: FlatModel, vector: Vector, *, completed: int
) -> dict[str, Metrics]:
    """Returns the metrics of each client's model of a run on its own held-out records.

    Arguments as of :func:`metrics_of_run`; empty, too, where the clients are other machines.
    """
    if not setup.kept.split.names:
        model.load(vector)
        return metrics_per_client(setup.experiment, model)
    if isinstance(setup.memory, Elsewhere):
        return {}
    if setup.experiment.population.virtual:
        return {}
    return {
        name: _own_metrics(setup, model, vector, name, data.test, completed=completed)
        for name, data in setup.experiment.population.clients.items()
        if data.test is not None
    }


def metrics_per_client(experiment: Experiment, model: FlatModel) -> dict[str, Metrics]:
    """Returns the metrics of one model on each client's own held-out records; virtual clients have none."""
    if experiment.population.virtual:
        return {}
    return {
        name: metrics_on(experiment, model, data.test)
        for name, data in experiment.population.clients.items()
        if data.test is not None
    }


def spread_of(by_client: Mapping[str, Metrics]) -> dict[str, tuple[float, float]]:
    """Returns the least and the greatest value of each metric over clients."""
    spread = {}
    for metric in dict.fromkeys(metric for entry in by_client.values() for metric in entry):
        values = [value for entry in by_client.values() if (value := entry.get(metric)) is not None]
        if values:
            spread[metric] = (min(values), max(values))
    return spread
