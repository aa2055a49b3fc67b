"""What every registered aggregator must hold; a newly registered one is covered without a new test."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from fedlearn._types import Vector
from fedlearn.aggregators import AGGREGATORS
from fedlearn.aggregators.accumulator import Aggregator
from fedlearn.errors import ProtocolError, TooFewClients

CLIENTS = 9
SIZE = 6


@pytest.fixture(params=sorted(AGGREGATORS))
def aggregator(request: pytest.FixtureRequest) -> Aggregator:
    built: Aggregator = AGGREGATORS.build(request.param, {})
    return built


def _updates(seed: int) -> list[Vector]:
    rng = np.random.default_rng(seed)
    return list(rng.normal(size=(CLIENTS, SIZE)).astype(np.float32))


def _aggregate(aggregator: Aggregator, updates: Sequence[Vector], weights: Sequence[float]) -> Vector:
    accumulator = aggregator.start()
    for update, weight in zip(updates, weights, strict=True):
        accumulator.add(update, weight=weight)
    return accumulator.result()


class TestEveryAggregator:
    def test_equal_updates_give_that_update(self, aggregator: Aggregator) -> None:
        update = _updates(0)[0]
        found = _aggregate(aggregator, [update] * CLIENTS, range(1, CLIENTS + 1))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, update, rtol=1e-6)

    def test_arrival_order_does_not_matter(self, aggregator: Aggregator) -> None:
        updates, weights = _updates(1), list(range(1, CLIENTS + 1))
        order = np.random.default_rng(2).permutation(CLIENTS)
        there = _aggregate(aggregator, updates, weights)
        back = _aggregate(aggregator, [updates[i] for i in order], [weights[i] for i in order])
        np.testing.assert_allclose(there, back, rtol=1e-6)

    def test_stays_within_the_range_of_the_updates(self, aggregator: Aggregator) -> None:
        updates = _updates(3)
        found = _aggregate(aggregator, updates, [1.0] * CLIENTS)
        assert (found >= np.min(updates, axis=0) - 1e-6).all()
        assert (found <= np.max(updates, axis=0) + 1e-6).all()

    def test_moves_and_scales_with_the_updates(self, aggregator: Aggregator) -> None:
        updates, ones = _updates(4), [1.0] * CLIENTS
        found = _aggregate(aggregator, [2.0 * u + 1.0 for u in updates], ones)
        np.testing.assert_allclose(found, 2.0 * _aggregate(aggregator, updates, ones) + 1.0, rtol=1e-4)

    def test_says_linear_exactly_if_superposition_holds(self, aggregator: Aggregator) -> None:
        weights = list(range(1, CLIENTS + 1))
        holds = []
        for seed in range(5, 10):
            one, other = _updates(seed), _updates(seed + 100)
            both = _aggregate(aggregator, [a + b for a, b in zip(one, other, strict=True)], weights)
            apart = _aggregate(aggregator, one, weights) + _aggregate(aggregator, other, weights)
            holds.append(np.allclose(both, apart, atol=1e-5))
        assert all(holds) == type(aggregator).linear
        assert any(holds) == type(aggregator).linear

    def test_no_update_is_an_error(self, aggregator: Aggregator) -> None:
        with pytest.raises(TooFewClients, match="0 updates"):
            aggregator.start().result()

    def test_rounds_do_not_share_what_they_hold(self, aggregator: Aggregator) -> None:
        first = aggregator.start()
        first.add(_updates(0)[0], weight=1.0)
        assert (first.count, aggregator.start().count) == (1, 0)

    def test_does_not_change_or_keep_the_caller_s_array(self, aggregator: Aggregator) -> None:
        updates = _updates(11)
        wanted = _aggregate(aggregator, updates, [1.0] * CLIENTS)
        accumulator, buffer = aggregator.start(), np.empty(SIZE, np.float32)
        for update in updates:
            buffer[:] = update
            accumulator.add(buffer, weight=1.0)
            np.testing.assert_array_equal(buffer, update)
        np.testing.assert_array_equal(accumulator.result(), wanted)

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_refuses_what_is_not_finite(self, aggregator: Aggregator, bad: float) -> None:
        update = _updates(0)[0]
        update[2] = bad
        with pytest.raises(ProtocolError, match="1 of 6 entries"):
            aggregator.start().add(update, weight=1.0)

    @pytest.mark.parametrize("weight", [0.0, -1.0, np.nan, np.inf])
    def test_refuses_a_weight_that_is_not_positive(self, aggregator: Aggregator, weight: float) -> None:
        with pytest.raises(ProtocolError, match="weight="):
            aggregator.start().add(_updates(0)[0], weight=weight)

    def test_refuses_an_update_of_another_length(self, aggregator: Aggregator) -> None:
        accumulator = aggregator.start()
        accumulator.add(_updates(0)[0], weight=1.0)
        with pytest.raises(ProtocolError, match="shape"):
            accumulator.add(np.zeros(1, np.float32), weight=1.0)


def test_an_aggregator_from_elsewhere_is_built_by_its_path() -> None:
    built = AGGREGATORS.build("fedlearn.aggregators.trimmed_mean:TrimmedMean", {"fraction": 0.25})
    assert built.fraction == 0.25
    assert built.linear is False
