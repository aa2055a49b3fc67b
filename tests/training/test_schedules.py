"""Learning-rate schedules over rounds."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedlearn.training import SCHEDULES
from fedlearn.training.schedules import constant, cosine, linear, step

ROUNDS = st.integers(1, 500).flatmap(lambda rounds: st.tuples(st.integers(0, rounds - 1), st.just(rounds)))


@pytest.mark.parametrize(
    ("schedule", "round", "rounds", "factor"),
    [
        (constant, 0, 1, 1.0),
        (constant, 99, 100, 1.0),
        (linear, 0, 10, 1.0),
        (linear, 9, 10, 0.1),
        (cosine, 0, 10, 1.0),
        (cosine, 5, 10, 0.5),
        (cosine, 9, 10, 0.5 * (1 + math.cos(0.9 * math.pi))),
        (step, 0, 8, 1.0),
        (step, 3, 8, 1.0),
        (step, 4, 8, 0.1),
        (step, 5, 8, 0.1),
        (step, 6, 8, 0.01),
        (step, 0, 1, 1.0),
    ],
)
def test_hand_answers(schedule: object, round: int, rounds: int, factor: float) -> None:
    assert callable(schedule)
    assert schedule(round, rounds) == pytest.approx(factor, abs=1e-12)


@pytest.mark.parametrize("name", list(SCHEDULES))
@given(ROUNDS)
def test_every_schedule_starts_at_one_and_never_rises_nor_reaches_zero(
    name: str, when: tuple[int, int]
) -> None:
    schedule, (round, rounds) = SCHEDULES.resolve(name), when
    assert schedule(0, rounds) == 1.0
    assert 0 < schedule(round, rounds) <= schedule(max(0, round - 1), rounds)
