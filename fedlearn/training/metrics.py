"""Metrics over a whole test set, computed from class probabilities; those of regression from outputs.

Every metric takes ``targets`` (n,) int64 and ``probabilities`` (n, classes) float32 whose rows sum
to one; those of regression take targets and outputs (n, k) as they are. With two classes precision,
recall and F1 are those of class 1; with more, the mean over classes (macro). A test set of one class
has no AUC, nor has a model whose outputs are not finite: NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Metric: TypeAlias = Callable[[NDArray[np.int64], NDArray[np.float32]], float]


def accuracy(targets: NDArray[np.int64], probabilities: NDArray[np.float32]) -> float:
    """Share of records whose most probable class is the right one."""
    return float(np.mean(probabilities.argmax(axis=1) == targets))


def precision(targets: NDArray[np.int64], probabilities: NDArray[np.float32]) -> float:
    """True positives over all that were called positive."""
    hits, called, _ = _counts(targets, probabilities)
    return _mean_ratio(hits, called)


def recall(targets: NDArray[np.int64], probabilities: NDArray[np.float32]) -> float:
    """True positives over all that are positive."""
    hits, _, there = _counts(targets, probabilities)
    return _mean_ratio(hits, there)


def f1(targets: NDArray[np.int64], probabilities: NDArray[np.float32]) -> float:
    """Harmonic mean of precision and recall."""
    hits, called, there = _counts(targets, probabilities)
    return _mean_ratio(2 * hits, called + there)


def auc(targets: NDArray[np.int64], probabilities: NDArray[np.float32]) -> float:
    """Area under the ROC curve; with more than two classes the mean over them, each against the rest.

    Classes that the targets lack are left out of the mean.
    """
    classes = np.unique(targets)
    if len(classes) < 2 or not np.isfinite(probabilities).all():
        return float("nan")
    if probabilities.shape[1] == 2:
        return _area(targets == 1, probabilities[:, 1])
    return float(np.mean([_area(targets == label, probabilities[:, label]) for label in classes]))


def log_loss(targets: NDArray[np.int64], probabilities: NDArray[np.float32]) -> float:
    """Mean negative log-probability of the right class, in nats."""
    right = np.take_along_axis(probabilities.astype(np.float64), targets[:, None], axis=1)
    return float(-np.mean(np.log(np.clip(right, 1e-12, None))))


def _of_outputs(metric: Metric) -> Metric:
    """Marks a metric that takes outputs (n, k) as they are instead of class probabilities."""
    metric.reads_outputs = True  # type: ignore[attr-defined]  # functions take attributes
    return metric


def reads_outputs(metric: Metric) -> bool:
    """Returns whether a metric takes a model's outputs as they are: those of regression do."""
    return getattr(metric, "reads_outputs", False)


@_of_outputs
def mean_squared_error(targets: NDArray[Any], outputs: NDArray[np.float32]) -> float:
    """Mean over records and targets of the squared error."""
    return float(np.mean(np.square(outputs.astype(np.float64) - targets)))


@_of_outputs
def mean_absolute_error(targets: NDArray[Any], outputs: NDArray[np.float32]) -> float:
    """Mean over records and targets of the absolute error."""
    return float(np.mean(np.abs(outputs.astype(np.float64) - targets)))


@_of_outputs
def r2(targets: NDArray[Any], outputs: NDArray[np.float32]) -> float:
    """Share of the targets' variance that is explained; NaN for targets that do not vary."""
    variance = float(np.mean(np.square(targets - targets.mean(axis=0))))
    return 1.0 - mean_squared_error(targets, outputs) / variance if variance > 0 else float("nan")


def _counts(
    targets: NDArray[np.int64], probabilities: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Returns true positives, positives called and positives there, of class 1 or each class that occurs."""
    classes = probabilities.shape[1]
    called = probabilities.argmax(axis=1)
    hits = np.bincount(targets[called == targets], minlength=classes)
    by_call, by_target = np.bincount(called, minlength=classes), np.bincount(targets, minlength=classes)
    chosen = np.array([1]) if classes == 2 else np.flatnonzero(by_call + by_target)
    return hits[chosen], by_call[chosen], by_target[chosen]


def _mean_ratio(parts: NDArray[np.int64], wholes: NDArray[np.int64]) -> float:
    """Returns the mean of the ratios; one without a denominator counts 0."""
    return float(np.mean(np.divide(parts, wholes, out=np.zeros(len(parts)), where=wholes > 0)))


def _area(positive: NDArray[np.bool_], scores: NDArray[np.float32]) -> float:
    """Returns the chance that a positive scores above a negative, ties half (Hanley and McNeil 1982)."""
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    positives = int(positive.sum())
    above = ranks[positive].sum() - positives * (positives + 1) / 2
    return float(above / (positives * (len(positive) - positives)))
