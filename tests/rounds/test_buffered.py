"""Asynchronous rounds against closed forms."""

from __future__ import annotations

import cmath
from collections.abc import Mapping

import numpy as np
import pytest

from fedlearn._types import Vector
from fedlearn.aggregators.weighted_mean import WeightedMean
from fedlearn.rounds.buffered import BufferedServer
from fedlearn.rounds.server import RoundServer
from fedlearn.rounds.transport import Lost
from tests.rounds.parties import RUN, Calls, client
from tests.rounds.test_flights import flights_of

ONE = np.ones(1, np.float32)


class Descent:
    """One step of gradient descent on w²/2: the update is −η·w."""

    def __init__(self, rate: float) -> None:
        self._rate = rate

    def train(self, params: Vector, *, round: int) -> Vector:
        return (-self._rate * params).astype(np.float32)


class Fixed:
    """The same update whatever the model."""

    def __init__(self, value: float) -> None:
        self._value = value

    def train(self, params: Vector, *, round: int) -> Vector:
        return np.array([self._value], np.float32)


def server_of(
    trainers: Mapping[str, object],
    seconds: Mapping[str, float],
    *,
    buffer: int,
    exponent: float = 0.5,
    weights: Mapping[str, float] | None = None,
    last: int | None = None,
) -> tuple[BufferedServer, Calls]:
    weights = weights or dict.fromkeys(trainers, 1.0)
    calls = Calls({name: client(name, part, dimension=1) for name, part in trainers.items()})
    inner = RoundServer(transport=calls, run=RUN, aggregator=WeightedMean(), weights=weights, dimension=1)
    flights = flights_of(seconds, concurrency=len(seconds))
    return BufferedServer(inner, flights, buffer=buffer, staleness_exponent=exponent, last=last), calls


def test_a_descent_whose_gradients_are_one_step_old_follows_its_recurrence() -> None:
    """Two clients of one speed, K = 1: from the second step on, w' = w − η·2^−a·(w one step before).

    Its solution is c₁·r₁ᵗ + c₂·r₂ᵗ with r the roots of r² − r + η·2^−a.
    """
    rate, exponent = 0.3, 0.5
    server, _ = server_of(
        {"a": Descent(rate), "b": Descent(rate)}, {"a": 1.0, "b": 1.0}, buffer=1, exponent=exponent
    )
    course = [np.float32(1.0)]
    for round in range(30):
        outcome = server.run_round(np.array([course[-1]], np.float32), (), round=round)
        assert outcome.update is not None
        course.append(course[-1] + outcome.update[0])
    step = rate * 2.0**-exponent
    first, second = ((1 + sign * cmath.sqrt(1 - 4 * step)) / 2 for sign in (1, -1))
    # w₀ = 1; the first step uses a fresh gradient, w₁ = 1 − η; the second the model w₀ one step late.
    w1 = 1.0 - rate
    c1 = (w1 - second) / (first - second)
    expected = [(c1 * first**t + (1 - c1) * second**t).real for t in range(31)]
    np.testing.assert_allclose(course, expected, atol=1e-5)


def test_staleness_shortens_a_step_and_weights_do_not_make_up_for_it() -> None:
    """K = 2 of three: a (1 s) lands with age 0; b (3 s) lands in the second round, one step old."""
    server, _ = server_of(
        {"a": Fixed(1.0), "b": Fixed(10.0), "c": Fixed(100.0)},
        {"a": 1.0, "b": 3.0, "c": 2.0},
        buffer=2,
        weights={"a": 1.0, "b": 0.5, "c": 0.25},
    )
    first = server.run_round(ONE, (), round=0)
    assert first.survivors == ("a", "c")
    assert first.simulated_seconds == 2.0
    assert first.update is not None
    assert first.update[0] == pytest.approx((1.0 * 1.0 + 0.25 * 100.0) / 1.25)
    # Round 1 begins at 2 s: a flies again (lands at 3 s, age 0), b lands at 3 s with the first model.
    second = server.run_round(ONE, (), round=1)
    assert second.survivors == ("a", "b")
    assert second.simulated_seconds == 1.0
    assert second.update is not None
    assert second.update[0] == pytest.approx((1.0 * 1.0 + 0.5 * 10.0 / 2**0.5) / 1.5)


def test_clients_train_on_the_model_that_was_there_when_they_began() -> None:
    """b takes four and a half rounds of a, and lands in round 4 with the model of round 0, which was 1."""
    server, _ = server_of({"a": Descent(1.0), "b": Descent(1.0)}, {"a": 1.0, "b": 4.5}, buffer=1)
    for round in range(4):
        outcome = server.run_round(np.array([float(round + 1)], np.float32), (), round=round)
        assert (outcome.survivors, outcome.simulated_seconds) == (("a",), 1.0)
        assert outcome.update is not None
        assert outcome.update[0] == -(round + 1)
    outcome = server.run_round(np.array([9.0], np.float32), (), round=4)
    assert (outcome.survivors, outcome.simulated_seconds) == (("b",), 0.5)
    assert outcome.update is not None
    assert outcome.update[0] == pytest.approx(-1.0 / 5**0.5)


def test_a_round_that_cannot_fill_its_buffer_fails_by_name() -> None:
    server, calls = server_of({"a": Fixed(1.0), "b": Fixed(1.0)}, {"a": 1.0, "b": 1.0}, buffer=2)
    calls.faults["b"] = lambda request: Lost(client="b", reason="dropout")
    outcome = server.run_round(ONE, (), round=0)
    assert outcome.update is None
    assert outcome.failure is not None
    assert "lower asynchronous.buffer" in outcome.failure
    assert outcome.dropped == {"b": "dropout"}


def test_who_is_in_flight_at_the_end_trains_and_is_in_no_sum() -> None:
    server, calls = server_of({"a": Fixed(1.0), "b": Fixed(100.0)}, {"a": 1.0, "b": 50.0}, buffer=1, last=1)
    server.run_round(ONE, (), round=0)
    assert calls.asked == ["a"]
    outcome = server.run_round(ONE, (), round=1)
    assert calls.asked == ["a", "a", "b"]
    assert outcome.asked_to_train == ("a", "b")
    assert outcome.survivors == ("a",)
    assert outcome.update is not None
    assert outcome.update[0] == 1.0
