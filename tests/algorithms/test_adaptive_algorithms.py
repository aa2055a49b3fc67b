"""FedAdam, FedYogi and FedAdagrad against Algorithm 2 of Reddi et al. 2021, one scalar at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedlearn.algorithms.fedadagrad import FedAdagrad
from fedlearn.algorithms.fedadam import FedAdam
from fedlearn.algorithms.fedyogi import FedYogi
from fedlearn.algorithms.state import Algorithm
from fedlearn.errors import ConfigError

ETA, BETA1, BETA2, TAU = 0.1, 0.9, 0.99, 1e-3

UPDATES = st.lists(st.floats(-4.0, 4.0, width=32), min_size=1, max_size=8)


def _scalar_oracle(kind: str, updates: list[float], beta1: float) -> float:
    """The paper's lines 9 to 14 in double precision, for one coordinate that starts at 0."""
    w, m, v = 0.0, 0.0, TAU**2
    for update in updates:
        m = beta1 * m + (1 - beta1) * update
        square = update * update
        if kind == "adam":
            v = BETA2 * v + (1 - BETA2) * square
        elif kind == "yogi":
            v = v - (1 - BETA2) * square * math.copysign(1.0, v - square) * (v != square)
        else:
            v = v + square
        w = w + ETA * m / (math.sqrt(v) + TAU)
    return w


def _run(algorithm: Algorithm, updates: list[float]) -> float:
    state = algorithm.init(np.zeros(1, np.float32))
    for update in updates:
        state = algorithm.step(state, np.array([update], np.float32))
    return float(state.params[0])


@pytest.mark.parametrize(
    ("kind", "algorithm", "beta1"),
    [("adam", FedAdam(), BETA1), ("yogi", FedYogi(), BETA1), ("adagrad", FedAdagrad(), 0.0)],
)
class TestAgainstThePaper:
    @settings(max_examples=60)
    @given(updates=UPDATES)
    def test_any_sequence(self, kind: str, algorithm: Algorithm, beta1: float, updates: list[float]) -> None:
        wanted = _scalar_oracle(kind, updates, beta1)
        assert _run(algorithm, updates) == pytest.approx(wanted, rel=2e-3, abs=2e-4)

    def test_coordinates_do_not_touch(self, kind: str, algorithm: Algorithm, beta1: float) -> None:
        state = algorithm.init(np.zeros(2, np.float32))
        for update in ([1.0, -0.5], [0.25, 2.0]):
            state = algorithm.step(state, np.array(update, np.float32))
        wanted = [_scalar_oracle(kind, column, beta1) for column in ([1.0, 0.25], [-0.5, 2.0])]
        np.testing.assert_allclose(state.params, wanted, rtol=1e-4)


def test_fedadam_three_steps_by_hand() -> None:
    """Updates 1, 1, −1 with β₁ = ½, β₂ = ¾, τ = 1, η = 1.

    m: 1/2, 3/4, −1/8.  v from τ² = 1: 1, 1, 1, so that √v + τ = 2.  w: 1/4, 5/8, 9/16.
    """
    algorithm = FedAdam(learning_rate=1.0, beta1=0.5, beta2=0.75, tau=1.0)
    state, seen = algorithm.init(np.zeros(1, np.float32)), []
    for update in (1.0, 1.0, -1.0):
        state = algorithm.step(state, np.array([update], np.float32))
        seen.append(float(state.params[0]))
    assert seen == [0.25, 0.625, 0.5625]
    assert state.slots["first"].tolist() == [-0.125]
    assert state.slots["second"].tolist() == [1.0]


def test_fedyogi_moves_its_second_moment_by_a_fixed_share_of_the_square() -> None:
    """v from τ² = 1 with β₂ = ¾: an update of 2 adds ¼·4, an update of 1 then takes ¼·1."""
    algorithm = FedYogi(learning_rate=1.0, beta1=0.0, beta2=0.75, tau=1.0)
    state = algorithm.step(algorithm.init(np.zeros(1, np.float32)), np.array([2.0], np.float32))
    assert state.slots["second"].tolist() == [2.0]
    state = algorithm.step(state, np.array([1.0], np.float32))
    assert state.slots["second"].tolist() == [1.75]


def test_fedadagrad_two_steps_by_hand() -> None:
    """τ = 1, η = 1, updates √3 and √12: v = 4 and 16, w = √3/3 and √3/3 + √12/5."""
    algorithm = FedAdagrad(learning_rate=1.0, tau=1.0)
    assert _run(algorithm, [3**0.5]) == pytest.approx(3**0.5 / 3)
    assert _run(algorithm, [3**0.5, 12**0.5]) == pytest.approx(3**0.5 / 3 + 12**0.5 / 5)


@pytest.mark.parametrize("factory", [FedAdam, FedYogi])
@pytest.mark.parametrize(
    "arguments", [{"beta1": 1.0}, {"beta2": 1.0}, {"beta2": -0.1}, {"tau": 0.0}, {"learning_rate": math.inf}]
)
def test_arguments_out_of_range_are_refused(
    factory: type[FedAdam] | type[FedYogi], arguments: dict[str, float]
) -> None:
    with pytest.raises(ConfigError, match=next(iter(arguments))):
        factory(**arguments)


def test_fedadagrad_refuses_a_beta_of_one() -> None:
    with pytest.raises(ConfigError, match="beta1=1"):
        FedAdagrad(beta1=1.0)
