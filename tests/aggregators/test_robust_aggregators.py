"""Median, trimmed mean and Krum: known answers, oracles, and what a few bad clients can do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fedlearn._types import Vector
from fedlearn.aggregators.accumulator import Aggregator
from fedlearn.aggregators.krum import Krum, scores
from fedlearn.aggregators.median import Median
from fedlearn.aggregators.trimmed_mean import TrimmedMean
from fedlearn.errors import ConfigError, TooFewClients


def _aggregate(aggregator: Aggregator, updates: np.ndarray) -> Vector:
    accumulator = aggregator.start()
    for update in updates:
        accumulator.add(np.asarray(update, np.float32), weight=1.0)
    return accumulator.result()


def test_median_by_hand() -> None:
    updates = np.array([[1.0, 5.0], [9.0, -1.0], [2.0, 0.0]])
    assert _aggregate(Median(), updates).tolist() == [2.0, 0.0]
    assert _aggregate(Median(), updates[:2]).tolist() == [5.0, 2.0]


def test_trimmed_mean_by_hand() -> None:
    updates = np.array([[-100.0], [1.0], [2.0], [3.0], [100.0]])
    assert _aggregate(TrimmedMean(fraction=0.2), updates).tolist() == [2.0]
    assert _aggregate(TrimmedMean(fraction=0.0), updates + 1.0)[0] == pytest.approx(2.2)


@settings(max_examples=40)
@given(clients=st.integers(1, 40), percent=st.sampled_from([0, 5, 10, 20, 25, 40]), seed=st.integers(0, 999))
def test_trimmed_mean_is_that_of_scipy_rounded_up(clients: int, percent: int, seed: int) -> None:
    updates = np.random.default_rng(seed).normal(size=(clients, 3)).astype(np.float32)
    cut = -(-percent * clients // 100)
    if 2 * cut >= clients:
        with pytest.raises(TooFewClients, match=f"{clients} updates arrived, {2 * cut + 1}"):
            _aggregate(TrimmedMean(fraction=percent / 100), updates)
        return
    wanted = stats.trim_mean(updates.astype(np.float64), (cut + 0.5) / clients, axis=0)
    found = _aggregate(TrimmedMean(fraction=percent / 100), updates)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_trimmed_mean_cuts_a_small_cohort_too() -> None:
    """A tenth of five clients is rounded up to one at each end, never down to none."""
    updates = np.array([[0.0], [1.0], [2.0], [3.0], [1e6]])
    assert _aggregate(TrimmedMean(fraction=0.1), updates).tolist() == [2.0]


def test_krum_scores_by_hand() -> None:
    """Points 0, 1, 3, 7, 15 on a line, f = 1: two nearest others each."""
    points = np.array([[0.0], [1.0], [3.0], [7.0], [15.0]], np.float32)
    assert scores(points, byzantine=1).tolist() == [1 + 9, 1 + 4, 4 + 9, 16 + 36, 64 + 144]
    assert _aggregate(Krum(byzantine=1), points).tolist() == [1.0]
    assert _aggregate(Krum(byzantine=1, keep=2), points).tolist() == [0.5]


def test_krum_returns_one_of_the_updates() -> None:
    updates = np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32)
    found = _aggregate(Krum(byzantine=2), updates)
    assert any(np.array_equal(found, update) for update in updates)


@pytest.mark.parametrize(
    "aggregator",
    [Median(), TrimmedMean(fraction=0.25), Krum(byzantine=3), Krum(byzantine=3, keep=5)],
    ids=["median", "trimmed-mean", "krum", "multi-krum"],
)
@pytest.mark.parametrize("attack", [1e6, -1e6, 30.0])
def test_a_quarter_of_bad_clients_cannot_leave_the_good_ones_range(
    aggregator: Aggregator, attack: float
) -> None:
    good = np.random.default_rng(1).normal(size=(9, 4)).astype(np.float32)
    bad = np.full((3, 4), attack, np.float32)
    found = _aggregate(aggregator, np.concatenate([bad, good]))
    assert (found >= good.min(axis=0)).all()
    assert (found <= good.max(axis=0)).all()


def test_krum_needs_two_f_plus_three_updates() -> None:
    with pytest.raises(TooFewClients, match="6 updates arrived, 7 are needed"):
        _aggregate(Krum(byzantine=2), np.zeros((6, 2)))
    assert _aggregate(Krum(byzantine=2), np.zeros((7, 2))).tolist() == [0.0, 0.0]


def test_arguments_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"fraction=0\.5"):
        TrimmedMean(fraction=0.5)
    with pytest.raises(ConfigError, match="byzantine=-1"):
        Krum(byzantine=-1)
    with pytest.raises(ConfigError, match="keep=0"):
        Krum(keep=0)
