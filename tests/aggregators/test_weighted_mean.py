"""The weighted mean: known answers, an exact oracle, and partial sums of workers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedlearn._types import Vector
from fedlearn.aggregators.weighted_mean import WeightedMean, WeightedSum
from fedlearn.errors import ProtocolError, TooFewClients

ENTRIES = st.lists(st.floats(-1e6, 1e6, width=32), min_size=3, max_size=3)
COHORTS = st.lists(st.tuples(ENTRIES, st.integers(1, 1000)), min_size=1, max_size=8)
Cohort = list[tuple[list[float], int]]


def _vector(entries: list[float]) -> Vector:
    return np.array(entries, np.float32)


def _summed(cohort: Cohort) -> WeightedSum:
    total = WeightedMean().start()
    for entries, weight in cohort:
        total.add(_vector(entries), weight=weight)
    return total


@settings(max_examples=80)
@given(cohort=COHORTS)
def test_is_the_mean_in_exact_arithmetic(cohort: Cohort) -> None:
    weight = sum(w for _, w in cohort)
    exact = [float(sum(Fraction(e[i]) * w for e, w in cohort) / weight) for i in range(3)]
    largest = max(abs(x) for e, _ in cohort for x in e)
    np.testing.assert_allclose(_summed(cohort).result(), exact, rtol=2e-7, atol=2.0**-39 * largest + 1e-40)


@settings(max_examples=40)
@given(cohort=COHORTS, cut=st.integers(0, 8))
def test_partial_sums_merge_into_the_whole(cohort: Cohort, cut: int) -> None:
    left, right = _summed(cohort[:cut]), _summed(cohort[cut:])
    left.merge(right)
    whole = _summed(cohort)
    assert (left.count, left.weight) == (whole.count, whole.weight)
    np.testing.assert_array_equal(left.result(), whole.result())


@settings(max_examples=40)
@given(cohort=st.lists(st.tuples(ENTRIES, st.floats(0.001, 1.0)), min_size=1, max_size=8), data=st.data())
def test_the_order_of_updates_changes_no_bit(
    cohort: list[tuple[list[float], float]], data: st.DataObject
) -> None:
    there, back = WeightedSum(), WeightedSum()
    for entries, weight in cohort:
        there.add(_vector(entries), weight=weight)
    for entries, weight in data.draw(st.permutations(cohort)):
        back.add(_vector(entries), weight=weight)
    np.testing.assert_array_equal(there.result(), back.result())
    assert there.weight == back.weight


def test_merging_leaves_the_other_sum_alone() -> None:
    mine, other = WeightedSum(), _summed([([1.0, 2.0, 3.0], 2)])
    mine.merge(other)
    mine.add(_vector([9.0, 9.0, 9.0]))
    assert other.total is not None
    assert other.total.tolist() == [2.0, 4.0, 6.0]
    assert (other.weight, other.count) == (2, 1)


def test_merging_nothing_changes_nothing() -> None:
    mine = _summed([([1.0, 2.0, 3.0], 2)])
    mine.merge(WeightedSum())
    assert mine.result().tolist() == [1.0, 2.0, 3.0]


def test_merging_sums_of_other_models_is_refused() -> None:
    other = WeightedSum()
    other.add(np.zeros(2, np.float32))
    with pytest.raises(ProtocolError, match="shapes"):
        _summed([([1.0, 2.0, 3.0], 1)]).merge(other)


def test_ten_thousand_small_updates_do_not_vanish_beside_a_large_one() -> None:
    """In float32, 1 beside 2²⁵ is lost; the sum is in float64."""
    total = WeightedMean().start()
    total.add(np.array([2.0**25], np.float32))
    for _ in range(10_000):
        total.add(np.array([1.0], np.float32))
    total.add(np.array([-(2.0**25)], np.float32))
    assert float(total.result()[0]) == pytest.approx(10_000 / 10_002, rel=1e-6)


def test_memory_does_not_grow_with_the_cohort() -> None:
    total = WeightedMean().start()
    for _ in range(50):
        total.add(np.ones(1000, np.float32))
    held = [value for value in vars(total).values() if isinstance(value, np.ndarray)]
    held += total.integers().values()
    assert sum(array.nbytes for array in held) == 2 * 8 * 1000


def test_nothing_has_no_mean() -> None:
    with pytest.raises(TooFewClients, match="weighted-mean: 0 updates"):
        WeightedSum().result()
