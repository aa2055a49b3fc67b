"""How good a model is, on the common test set and on each client's own held-out records."""

from __future__ import annotations

import math
from collections.abc import Mapping

from fedlearn.experiment import Experiment
from fedlearn.runs.result import Metrics
from fedlearn.training.batches import RecordSet
from fedlearn.training.evaluate import evaluate
from fedlearn.training.vector import FlatModel


def metrics_on(experiment: Experiment, model: FlatModel, records: RecordSet | None) -> Metrics:
    """Returns the experiment's metrics of a model; empty without records, None where undefined."""
    if records is None:
        return {}
    values = evaluate(model.module, records, experiment.metric_functions)
    return {name: None if math.isnan(value) else float(value) for name, value in values.items()}


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
    for metric in next(iter(by_client.values()), {}):
        values = [value for entry in by_client.values() if (value := entry[metric]) is not None]
        if values:
            spread[metric] = (min(values), max(values))
    return spread
