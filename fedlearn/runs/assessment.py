"""How good a model is, on the common test set and on each client's own held-out records."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

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
    common = experiment.population.test
    of, entries, sizes = setup.kept.models(vector, completed=completed), [], []
    for name, data in experiment.population.clients.items():
        records = data.test if data.test is not None else common
        if records is not None:
            model.load(of(name))
            entries.append(metrics_on(experiment, model, records))
            sizes.append(size_of(records, client=name))
    return weighted_mean(entries, sizes)


def weighted_mean(entries: Sequence[Metrics], weights: Sequence[float]) -> Metrics:
    """Returns the weighted mean of each metric over the entries where it is defined; empty without entries.

    >>> weighted_mean([{"auc": 1.0}, {"auc": None}, {"auc": 0.4}], [1, 9, 2])
    {'auc': 0.6}
    """
    means: Metrics = {}
    for metric in entries[0] if entries else ():
        pairs = zip((entry[metric] for entry in entries), weights, strict=True)
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
    return metrics_per_client(setup.experiment, model, setup.kept.models(vector, completed=completed))


def metrics_per_client(
    experiment: Experiment, model: FlatModel, of: Callable[[str], Vector] | None = None
) -> dict[str, Metrics]:
    """Returns metrics on each client's own held-out records; virtual clients have none.

    Args:
      experiment: the experiment.
      model: of all clients; or where each one's is loaded.
      of: client → its own model; None: all have the one that is loaded.
    """
    if experiment.population.virtual:
        return {}
    metrics = {}
    for name, data in experiment.population.clients.items():
        if data.test is not None:
            if of is not None:
                model.load(of(name))
            metrics[name] = metrics_on(experiment, model, data.test)
    return metrics


def spread_of(by_client: Mapping[str, Metrics]) -> dict[str, tuple[float, float]]:
    """Returns the least and the greatest value of each metric over clients."""
    spread = {}
    for metric in next(iter(by_client.values()), {}):
        values = [value for entry in by_client.values() if (value := entry[metric]) is not None]
        if values:
            spread[metric] = (min(values), max(values))
    return spread
