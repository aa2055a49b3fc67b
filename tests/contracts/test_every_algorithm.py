"""What every registered algorithm must hold; a newly registered one is covered without a new test."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pytest

from fedlearn._types import Vector
from fedlearn.algorithms import ALGORITHMS
from fedlearn.algorithms.local_rule import LocalWork, rule_of
from fedlearn.algorithms.state import Algorithm, State
from fedlearn.errors import ProtocolError

START = np.array([3.0, -2.0, 0.5, 0.0], dtype=np.float32)
UPDATE = np.array([0.5, -1.0, 0.25, 0.0], dtype=np.float32)


@pytest.fixture(params=sorted(ALGORITHMS))
def algorithm(request: pytest.FixtureRequest) -> Algorithm:
    built: Algorithm = ALGORITHMS.build(request.param, {})
    return built


def _reply(algorithm: Algorithm, update: Vector = UPDATE) -> Vector:
    """Returns an update, and zeros for what else the algorithm's clients send."""
    return np.concatenate([update, np.zeros((rule_of(algorithm).sent - 1) * len(update), np.float32)])


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
        state = algorithm.step(algorithm.init(START), _reply(algorithm, np.zeros_like(START)))
        np.testing.assert_array_equal(state.params, START)

    def test_a_first_step_goes_the_way_of_the_update(self, algorithm: Algorithm) -> None:
        moved = algorithm.step(algorithm.init(START), _reply(algorithm)).params - START
        np.testing.assert_array_equal(np.sign(moved), np.sign(UPDATE))

    def test_steps_keep_shape_and_dtype_and_count(self, algorithm: Algorithm) -> None:
        state = algorithm.init(START)
        for number in range(1, 4):
            state = algorithm.step(state, _reply(algorithm))
            assert state.round == number
            for name, array in state.to_arrays().items():
                assert name == "round" or (array.shape == START.shape and array.dtype == np.float32)

    def test_neither_state_nor_update_is_mutated(self, algorithm: Algorithm) -> None:
        state = algorithm.step(algorithm.init(START.copy()), _reply(algorithm))
        before, update = _copied(state), _reply(algorithm)
        after = algorithm.step(state, update)
        assert _same(state, before)
        np.testing.assert_array_equal(update, _reply(algorithm))
        for array in after.slots.values():
            array.fill(7.0)
        assert _same(state, before)

    def test_is_deterministic(self, algorithm: Algorithm) -> None:
        one = algorithm.step(algorithm.init(START), _reply(algorithm))
        other = algorithm.step(algorithm.init(START), _reply(algorithm))
        assert _same(one, dict(other.to_arrays()))

    def test_continues_from_a_checkpoint_as_if_it_had_not_stopped(self, algorithm: Algorithm) -> None:
        state = algorithm.step(algorithm.init(START), _reply(algorithm))
        restored = State.from_arrays(_copied(state))
        back = _reply(algorithm, -UPDATE)
        direct, resumed = algorithm.step(state, back), algorithm.step(restored, back)
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
            state = algorithm.step(state, _reply(algorithm, 0.1 * (optimum - state.params)))
        before, after = np.linalg.norm(START - optimum), np.linalg.norm(state.params - optimum)
        assert after < 0.25 * before


class TestEveryLocalRule:
    """The clients' half."""

    WORK = LocalWork(steps=3, learning_rate=0.2, unit_rate=0.2)

    def _received(self, algorithm: Algorithm, state: State) -> list[Vector]:
        return [state.slots[name] for name in rule_of(algorithm).received]

    def test_what_it_receives_is_in_the_servers_state(self, algorithm: Algorithm) -> None:
        for vector in self._received(algorithm, algorithm.init(START)):
            assert vector.shape == START.shape

    def test_sends_as_many_vectors_as_it_says_the_update_first(self, algorithm: Algorithm) -> None:
        rule = rule_of(algorithm)
        outcome = rule.finish(UPDATE, self._received(algorithm, algorithm.init(START)), {}, self.WORK)
        assert len(outcome.sent) == rule.sent
        np.testing.assert_array_equal(outcome.sent[0], UPDATE)
        for vector in (*outcome.sent, *outcome.kept.values()):
            assert (vector.shape, vector.dtype.name) == (START.shape, "float32")
        assert bool(outcome.kept) == rule.remembers

    def test_changes_no_argument(self, algorithm: Algorithm) -> None:
        rule, received = rule_of(algorithm), self._received(algorithm, algorithm.init(START))
        kept = dict(rule.finish(UPDATE, received, {}, self.WORK).kept)
        before = {name: vector.copy() for name, vector in kept.items()}
        rule.offset(received, kept, unit_rate=0.2)
        rule.finish(UPDATE, received, kept, self.WORK)
        assert all(np.array_equal(kept[name], before[name]) for name in before)
        assert not any(vector.any() for vector in received)

    def test_a_step_size_of_zero_does_no_harm(self, algorithm: Algorithm) -> None:
        received = self._received(algorithm, algorithm.init(START))
        still = replace(self.WORK, learning_rate=0.0)
        outcome = rule_of(algorithm).finish(np.zeros_like(START), received, {}, still)
        assert all(np.isfinite(vector).all() for vector in (*outcome.sent, *outcome.kept.values()))

    def test_one_client_that_starts_at_its_optimum_stays(self, algorithm: Algorithm) -> None:
        rule, state = rule_of(algorithm), algorithm.init(START)
        assert not np.any(rule.offset(self._received(algorithm, state), {}, unit_rate=0.2))


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_refuses_a_learning_rate_of_zero(name: str) -> None:
    with pytest.raises(Exception, match="learning_rate=0"):
        ALGORITHMS.build(name, {"learning_rate": 0.0})


def test_an_algorithm_from_elsewhere_is_built_by_its_path() -> None:
    built = ALGORITHMS.build("fedlearn.algorithms.fedavg:FedAvg", {"learning_rate": 0.5})
    state = built.step(built.init(START), UPDATE)
    np.testing.assert_array_equal(state.params, START + np.float32(0.5) * UPDATE)
    assert replace(built, learning_rate=1.0).learning_rate == 1.0
