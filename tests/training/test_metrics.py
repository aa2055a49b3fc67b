"""Metrics against hand answers and against scikit-learn."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as sk

from fedlearn.training import METRICS
from fedlearn.training.metrics import (
    accuracy,
    auc,
    f1,
    log_loss,
    mean_absolute_error,
    mean_squared_error,
    precision,
    r2,
    reads_outputs,
    recall,
)

TARGETS = np.array([0, 0, 0, 1, 1, 1, 1, 1])
POSITIVE = np.array([0.1, 0.2, 0.9, 0.8, 0.7, 0.6, 0.3, 0.4], np.float32)
BINARY = np.stack([1 - POSITIVE, POSITIVE], axis=1)
"""Three true positives, one false positive, two false negatives, two true negatives."""


def dealt(seed: int, classes: int, records: int = 60) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(classes), records).astype(np.float32)
    return rng.integers(classes, size=records), probabilities


class TestHandAnswers:
    @pytest.mark.parametrize(
        ("metric", "answer"),
        [(accuracy, 5 / 8), (precision, 3 / 4), (recall, 3 / 5), (f1, 2 / 3), (auc, 10 / 15)],
        ids=lambda value: getattr(value, "__name__", ""),
    )
    def test_two_classes(self, metric: Callable[..., float], answer: float) -> None:
        assert metric(TARGETS, BINARY) == pytest.approx(answer, abs=1e-12)

    def test_log_loss_is_in_nats(self) -> None:
        probabilities = np.array([[0.5, 0.5], [0.25, 0.75]], np.float32)
        assert log_loss(np.array([0, 1]), probabilities) == pytest.approx(-math.log(0.5 * 0.75) / 2)

    def test_log_loss_of_a_certain_mistake_is_large_and_finite(self) -> None:
        probabilities = np.array([[1.0, 0.0]], np.float32)
        assert log_loss(np.array([1]), probabilities) == pytest.approx(-math.log(1e-12))

    def test_three_classes_are_averaged(self) -> None:
        """Recalls are 1, ½ and 0; precisions ½, 1 and, never called, 0."""
        targets = np.array([0, 1, 1, 2])
        probabilities = np.eye(3, dtype=np.float32)[[0, 1, 0, 0]]
        assert recall(targets, probabilities) == pytest.approx(0.5)
        assert precision(targets, probabilities) == pytest.approx((1 / 3 + 1 + 0) / 3)

    def test_nothing_called_positive_is_zero_and_no_warning(self) -> None:
        nothing = np.tile(np.array([1.0, 0.0], np.float32), (8, 1))
        assert precision(TARGETS, nothing) == recall(TARGETS, nothing) == f1(TARGETS, nothing) == 0.0

    def test_a_perfect_order_has_auc_one_and_a_reversed_one_zero(self) -> None:
        probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]], np.float32)
        assert auc(np.array([0, 0, 1]), probabilities) == 1.0
        assert auc(np.array([1, 1, 0]), probabilities) == 0.0


class TestAgainstScikitLearn:
    @pytest.mark.parametrize("classes", [2, 3, 7])
    @pytest.mark.parametrize("seed", range(3))
    def test_threshold_metrics(self, classes: int, seed: int) -> None:
        targets, probabilities = dealt(seed, classes)
        called = probabilities.argmax(axis=1)
        average: dict[str, Any] = {"average": "binary" if classes == 2 else "macro", "zero_division": 0}
        assert accuracy(targets, probabilities) == sk.accuracy_score(targets, called)
        assert precision(targets, probabilities) == sk.precision_score(targets, called, **average)
        assert recall(targets, probabilities) == sk.recall_score(targets, called, **average)
        assert f1(targets, probabilities) == sk.f1_score(targets, called, **average)

    @pytest.mark.parametrize("classes", [2, 3, 7])
    @pytest.mark.parametrize("seed", range(3))
    def test_probability_metrics(self, classes: int, seed: int) -> None:
        targets, probabilities = dealt(seed, classes)
        scores = probabilities[:, 1] if classes == 2 else probabilities
        wanted = sk.roc_auc_score(targets, scores, multi_class="ovr", labels=np.arange(classes))
        assert auc(targets, probabilities) == pytest.approx(wanted, abs=1e-12)
        wanted = sk.log_loss(targets, probabilities, labels=np.arange(classes))
        assert log_loss(targets, probabilities) == pytest.approx(wanted, abs=1e-6)


class TestAuc:
    @pytest.mark.parametrize("classes", [2, 3])
    def test_one_class_alone_has_none(self, classes: int) -> None:
        targets, probabilities = dealt(0, classes)
        assert math.isnan(auc(np.zeros_like(targets), probabilities))

    def test_classes_that_the_targets_lack_are_left_out(self) -> None:
        targets, probabilities = dealt(0, 4)
        targets %= 2
        wanted = [sk.roc_auc_score(targets == label, probabilities[:, label]) for label in (0, 1)]
        assert auc(targets, probabilities) == pytest.approx(np.mean(wanted))

    def test_certainty_about_a_class_that_is_not_there_is_no_error(self) -> None:
        probabilities = np.tile(np.array([0.0, 0.0, 1.0], np.float32), (4, 1))
        assert auc(np.array([0, 1, 0, 1]), probabilities) == 0.5

    def test_a_model_that_is_not_finite_has_none(self) -> None:
        probabilities = np.full((4, 2), np.nan, np.float32)
        assert math.isnan(auc(np.array([0, 1, 0, 1]), probabilities))

    @given(st.integers(0, 2**32), st.integers(2, 5))
    def test_order_alone_decides_between_two_classes(self, seed: int, power: int) -> None:
        targets, probabilities = dealt(seed, 2, records=12)
        positive = probabilities[:, 1] ** power
        warped = np.stack([1 - positive, positive], axis=1)
        assert auc(targets, warped) == pytest.approx(auc(targets, probabilities), nan_ok=True)


@pytest.mark.parametrize("name", list(METRICS))
def test_every_metric_ignores_the_order_of_records(name: str) -> None:
    targets, probabilities = dealt(3, 3)
    order = np.random.default_rng(0).permutation(len(targets))
    metric = METRICS.resolve(name)
    if reads_outputs(metric):
        targets, probabilities = targets[:, None], probabilities[:, :1]
    assert metric(targets[order], probabilities[order]) == pytest.approx(metric(targets, probabilities))
    assert type(metric(targets, probabilities)) is float


def test_metrics_of_regression_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    targets: NDArray[Any] = rng.normal(size=(50, 1))
    outputs = rng.normal(size=(50, 1)).astype(np.float32)
    assert mean_squared_error(targets, outputs) == pytest.approx(sk.mean_squared_error(targets, outputs))
    assert mean_absolute_error(targets, outputs) == pytest.approx(sk.mean_absolute_error(targets, outputs))
    assert r2(targets, outputs) == pytest.approx(sk.r2_score(targets, outputs))
    still: NDArray[Any] = np.ones((3, 1))
    assert np.isnan(r2(still, np.zeros((3, 1), np.float32)))
