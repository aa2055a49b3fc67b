"""What every registered algorithm must hold; a newly registered one is covered without a new test."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pytest

from fedlearn._types import Vector
from fedlearn.algorithms import ALGORITHMS
from fedlearn.algorithms.state import Algorithm, State
from fedlearn.errors import ProtocolError

START = np.array([3.0, -2.0, 0.5, 0.0], dtype=np.float32)
UPDATE = np.array([0.5, -1.0, 0.25, 0.0], dtype=np.float32)


@pytest.fixture(params=sorted(ALGORITHMS))
def algorithm(request: pytest.FixtureRequest) -> Algorithm:
    built: Algorithm = ALGORITHMS.build(request.param, {})
    return built


def _copied(state: State) -> dict[str, Vector]:
    return {name: array.copy() for name, array in state.to_arrays().items()}


def _same(state: State, arrays: dict[str, Vector]) -> bool:
    found = state.to_arrays()
    return found.keys() == arrays.keys() and all(np.array_equal(found[k], arrays[k]) for k in arrays)


class TestEveryAlgorithm:
    def test_is_a_frozen_value(self, algorithm: Algorithm) -> None:
        name = fields(algorithm)[0].name  # type: ignore[arg-type]
        with pytest.raises(FrozenInstanceError):
            setattr(algorithm, name, 2.0)

    def test_starts_from_the_parameters_it_is_given(self, algorithm: Algorithm) -> None:
        state = algorithm.init(START)
        assert state.round == 0
        np.testing.assert_array_equal(state.params, START)

    def test_asks_for_no_negative_pull(self, algorithm: Algorithm) -> None:
        assert algorithm.proximal >= 0.0

    def test_a_first_update_of_zero_leaves_the_parameters(self, algorithm: Algorithm) -> None:
        state = algorithm.step(algorithm.init(START), np.zeros_like(START))
        np.testing.assert_array_equal(state.params, START)

    def test_a_first_step_goes_the_way_of_the_update(self, algorithm: Algorithm) -> None:
        moved = algorithm.step(algorithm.init(START), UPDATE).params - START
        np.testing.assert_array_equal(np.sign(moved), np.sign(UPDATE))

    def test_steps_keep_shape_and_dtype_and_count(self, algorithm: Algorithm) -> None:
        state = algorithm.init(START)
        for number in range(1, 4):
            state = algorithm.step(state, UPDATE)
            assert state.round == number
            for name, array in state.to_arrays().items():
                assert name == "round" or (array.shape == START.shape and array.dtype == np.float32)

    def test_neither_state_nor_update_is_mutated(self, algorithm: Algorithm) -> None:
        state = algorithm.step(algorithm.init(START.copy()), UPDATE)
        before, update = _copied(state), UPDATE.copy()
        after = algorithm.step(state, update)
        assert _same(state, before)
        np.testing.assert_array_equal(update, UPDATE)
        for array in after.slots.values():
            array.fill(7.0)
        assert _same(state, before)

    def test_is_deterministic(self, algorithm: Algorithm) -> None:
        one = algorithm.step(algorithm.init(START), UPDATE)
        other = algorithm.step(algorithm.init(START), UPDATE)
        assert _same(one, dict(other.to_arrays()))

    def test_continues_from_a_checkpoint_as_if_it_had_not_stopped(self, algorithm: Algorithm) -> None:
        state = algorithm.step(algorithm.init(START), UPDATE)
        restored = State.from_arrays(_copied(state))
        direct, resumed = algorithm.step(state, -UPDATE), algorithm.step(restored, -UPDATE)
        assert _same(direct, dict(resumed.to_arrays()))

    @pytest.mark.parametrize("wrong", [np.zeros(3, np.float32), np.zeros(4, np.float64)])
    def test_refuses_an_update_of_another_model(self, algorithm: Algorithm, wrong: Vector) -> None:
        with pytest.raises(ProtocolError, match="update is float"):
            algorithm.step(algorithm.init(START), wrong)

    def test_converges_on_a_convex_toy(self, algorithm: Algorithm) -> None:
        """Each client walks a tenth of the way to the optimum of ‖w − 1‖²/2."""
        optimum = np.ones_like(START)
        state = algorithm.init(START)
        for _ in range(400):
            state = algorithm.step(state, 0.1 * (optimum - state.params))
        before, after = np.linalg.norm(START - optimum), np.linalg.norm(state.params - optimum)
        assert after < 0.25 * before


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_refuses_a_learning_rate_of_zero(name: str) -> None:
    with pytest.raises(Exception, match="learning_rate=0"):
        ALGORITHMS.build(name, {"learning_rate": 0.0})


def test_an_algorithm_from_elsewhere_is_built_by_its_path() -> None:
    built = ALGORITHMS.build("fedlearn.algorithms.fedavg:FedAvg", {"learning_rate": 0.5})
    state = built.step(built.init(START), UPDATE)
    np.testing.assert_array_equal(state.params, START + np.float32(0.5) * UPDATE)
    assert replace(built, learning_rate=1.0).learning_rate == 1.0
