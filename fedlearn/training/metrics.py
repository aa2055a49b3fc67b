"""Metrics over a whole test set, computed from class probabilities.

Every metric takes ``targets`` (n,) int64 and ``probabilities`` (n, classes) float32 whose rows sum
to one. With two classes precision, recall and F1 are those of class 1; with more, the mean over
classes (macro). A test set of one class has no AUC, nor has a model whose outputs are not finite: NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as sk

Metric: TypeAlias = Callable[[NDArray[np.int64], NDArray[np.float32]], float]


def accuracy(targets: NDArray[np.int64], probabilities: NDArray[np.float32]) -> float:
    """Share of records whose most probable class is the right one."""
    return float(np.mean(probabilities.argmax(axis=1) == targets))


def precision(targets: NDArray[np.int64], probabilities: NDArray[np.float32]) -> float:
    """True positives over all that were called positive."""
    return float(sk.precision_score(targets, probabilities.argmax(axis=1), **_averaging(probabilities)))


def recall(targets: NDArray[np.int64], probabilities: NDArray[np.float32]) -> float:
    """True positives over all that are positive."""
    return float(sk.recall_score(targets, probabilities.argmax(axis=1), **_averaging(probabilities)))


def f1(targets: NDArray[np.int64], probabilities: NDArray[np.float32]) -> float:
    """Harmonic mean of precision and recall."""
    return float(sk.f1_score(targets, probabilities.argmax(axis=1), **_averaging(probabilities)))


def auc(targets: NDArray[np.int64], probabilities: NDArray[np.float32]) -> float:
    """Area under the ROC curve; with more than two classes the mean over them, each against the rest.

    Classes that the targets lack are left out of the mean.
    """
    classes = np.unique(targets)
    if len(classes) < 2 or not np.isfinite(probabilities).all():
        return float("nan")
    if probabilities.shape[1] == 2:
        return float(sk.roc_auc_score(targets, probabilities[:, 1]))
    return float(np.mean([sk.roc_auc_score(targets == label, probabilities[:, label]) for label in classes]))


def log_loss(targets: NDArray[np.int64], probabilities: NDArray[np.float32]) -> float:
    """Mean negative log-probability of the right class, in nats."""
    right = np.take_along_axis(probabilities.astype(np.float64), targets[:, None], axis=1)
    return float(-np.mean(np.log(np.clip(right, 1e-12, None))))


def _averaging(probabilities: NDArray[np.float32]) -> dict[str, Any]:
    return {"average": "binary" if probabilities.shape[1] == 2 else "macro", "zero_division": 0.0}
