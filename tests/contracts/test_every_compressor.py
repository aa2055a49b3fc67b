"""What every registered compressor must hold; a newly registered one is covered without a new test."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedlearn._types import Vector
from fedlearn.compression import COMPRESSORS
from fedlearn.compression.compressor import Compressor
from fedlearn.errors import MalformedMessage

LABEL = ("run", 3)
DIMENSIONS = [1, 2, 7, 64, 1030]


def built(name: str) -> Compressor:
    part: Compressor = COMPRESSORS.build(name, {})
    return part


NAMES = sorted(COMPRESSORS)
SUMMABLE = [name for name in NAMES if built(name).summable]
UNBIASED = [name for name in NAMES if built(name).unbiased]


@pytest.fixture(params=NAMES, scope="module")
def compressor(request: pytest.FixtureRequest) -> Compressor:
    return built(request.param)


def update_of(dimension: int, seed: int = 0) -> Vector:
    return np.random.default_rng(seed).standard_normal(dimension).astype(np.float32)


def sent(compressor: Compressor, update: Vector, *, seed: int = 0, round: int = 3) -> np.ndarray:
    return compressor.compress(update, label=("run", round), coins=np.random.default_rng(seed))


def received(compressor: Compressor, update: Vector, *, seed: int = 0, round: int = 3) -> Vector:
    payload = sent(compressor, update, seed=seed, round=round)
    return compressor.restore(payload, dimension=update.size, label=("run", round))


@pytest.mark.parametrize("dimension", DIMENSIONS)
class TestEveryForm:
    def test_a_payload_has_the_form_that_was_announced(self, compressor: Compressor, dimension: int) -> None:
        layout = compressor.layout(dimension)
        for update in (update_of(dimension), np.zeros(dimension, np.float32)):
            payload = sent(compressor, update)
            layout.check(payload)
            assert payload.nbytes == layout.nbytes
        assert layout.dtype == (np.float32 if compressor.summable else np.uint8)

    def test_what_comes_back_is_an_update(self, compressor: Compressor, dimension: int) -> None:
        found = received(compressor, update_of(dimension))
        assert found.dtype == np.float32
        assert found.shape == (dimension,)
        assert np.isfinite(found).all()

    def test_nothing_stays_nothing(self, compressor: Compressor, dimension: int) -> None:
        assert not received(compressor, np.zeros(dimension, np.float32)).any()

    def test_no_coordinate_gets_larger_than_the_largest(self, compressor: Compressor, dimension: int) -> None:
        update = update_of(dimension)
        assert np.abs(received(compressor, update)).max() <= np.abs(update).max() * (1 + 1e-6)

    def test_another_form_is_refused(self, compressor: Compressor, dimension: int) -> None:
        payload = sent(compressor, update_of(dimension))
        for wrong in (payload[:-1], np.append(payload, payload[:1]), payload.astype(np.float64)):
            with pytest.raises(MalformedMessage):
                compressor.restore(wrong, dimension=dimension, label=LABEL)


class TestEveryCompressor:
    def test_the_same_coins_give_the_same_bytes(self, compressor: Compressor) -> None:
        update = update_of(500)
        before = update.copy()
        assert sent(compressor, update).tobytes() == sent(compressor, update).tobytes()
        assert update.tobytes() == before.tobytes(), "the update is not changed"

    def test_large_updates_are_sent_in_fewer_bytes(self, compressor: Compressor) -> None:
        assert compressor.layout(100_000).nbytes < 4 * 100_000 / 2

    @pytest.mark.parametrize("name", UNBIASED)
    def test_unbiased_means_right_on_average(self, name: str) -> None:
        compressor = built(name)
        update, tries = update_of(40), 4000
        total, squares = np.zeros(40), np.zeros(40)
        for number in range(tries):
            found = compressor.expansion(40) * received(compressor, update, seed=number, round=number)
            total += found
            squares += found.astype(np.float64) ** 2
        mean = total / tries
        stddev = np.sqrt(np.maximum(squares / tries - mean**2, 0) / tries)
        # Forty coordinates at six standard errors: a false alarm once in 10^7 runs.
        assert (np.abs(mean - update) <= 6 * stddev + 1e-6).all()

    @pytest.mark.parametrize("name", SUMMABLE)
    def test_payloads_that_add_up_add_up_to_the_payload_of_the_sum(self, name: str) -> None:
        compressor = built(name)
        one, other = update_of(300, 1), update_of(300, 2)
        both = sent(compressor, one, seed=1) + sent(compressor, other, seed=2)
        np.testing.assert_allclose(both, sent(compressor, one + other, seed=3), rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("name", SUMMABLE)
    def test_payloads_that_add_up_lengthen_no_update(self, name: str) -> None:
        """So a clipping norm of updates is one of payloads, and noise made for it suffices."""
        compressor = built(name)
        for seed in range(50):
            update = update_of(100, seed)
            assert np.linalg.norm(sent(compressor, update, round=seed)) <= np.linalg.norm(update)

    @given(data=st.data())
    def test_hostile_bytes_are_refused_or_give_a_finite_update(
        self, compressor: Compressor, data: st.DataObject
    ) -> None:
        layout = compressor.layout(20)
        hostile = data.draw(st.binary(min_size=layout.nbytes, max_size=layout.nbytes))
        try:
            found = compressor.restore(np.frombuffer(hostile, layout.dtype), dimension=20, label=LABEL)
        except MalformedMessage:
            return
        assert found.shape == (20,)
        assert np.isfinite(found).all()

    def test_its_options_are_checked(self, compressor: Compressor) -> None:
        assert compressor.expansion(1000) >= 1.0
        assert math.isfinite(compressor.expansion(1))
