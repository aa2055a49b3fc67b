"""How good a model is on records, with an interval that says how sure that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fedlearn.training.batches import RecordSet, size_of
from fedlearn.training.evaluate import predict
from fedlearn.training.metrics import Metric


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A metric on some records.

    Attributes:
      value: on all of them; NaN where it is not defined.
      low: lower end of its 95 % bootstrap interval; NaN where no resample defines it.
      high: upper end.
    """

    value: float
    low: float
    high: float


def estimates(
    module: nn.Module,
    records: RecordSet,
    metrics: Mapping[str, Metric],
    *,
    repeats: int,
    rng: np.random.Generator,
) -> dict[str, Estimate]:
    """Returns every metric with its percentile bootstrap interval (Efron and Tibshirani 1993, chapter 13).

    Records are resampled, not predictions: those of one record stay together. The interval is about other
    records of the same kind; it knows nothing of other trainings.

    Args:
      module: gives logits.
      records: in the unit that the module takes.
      metrics: by name.
      repeats: number of resamples, at least 1.
      rng: draws them.
    """
    count = size_of(records, client="data")
    targets, probabilities = predict(module, records)
    per_record = len(targets) // count
    drawn = [_resample(count, per_record, rng) for _ in range(repeats)]
    return {
        name: _estimate(
            metric(targets, probabilities), [metric(targets[at], probabilities[at]) for at in drawn]
        )
        for name, metric in metrics.items()
    }


def _resample(records: int, per_record: int, rng: np.random.Generator) -> NDArray[np.int64]:
    chosen = rng.integers(records, size=records)
    places: NDArray[np.int64] = (chosen[:, None] * per_record + np.arange(per_record)).ravel()
    return places


def _estimate(value: float, resampled: list[float]) -> Estimate:
    known = np.array(resampled)[np.isfinite(resampled)]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
    return Estimate(value=float(value), low=float(low), high=float(high))
