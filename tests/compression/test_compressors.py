"""What each compressor promises by itself."""

from __future__ import annotations

import numpy as np
import pytest

from fedlearn.compression.quantise import Quantise
from fedlearn.compression.random_k import RandomK
from fedlearn.compression.top_k import TopK
from fedlearn.errors import ConfigError, MalformedMessage

LABEL = ("run", 0)
UPDATE = np.random.default_rng(5).standard_normal(3000).astype(np.float32)


def coins(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("bits", range(2, 17))
def test_quantised_coordinates_are_off_by_less_than_a_level(bits: int) -> None:
    quantise = Quantise(bits=bits, block=256)
    payload = quantise.compress(UPDATE, label=LABEL, coins=coins())
    assert payload.size == 4 * 12 + -(-3000 * bits // 8)
    found = quantise.restore(payload, dimension=3000, label=LABEL)
    for start in range(0, 3000, 256):
        block = UPDATE[start : start + 256]
        level = np.abs(block).max() / (2 ** (bits - 1) - 1)
        assert (np.abs(found[start : start + 256] - block) <= level * (1 + 1e-5)).all()


def test_a_block_of_zeros_beside_others_stays_zero() -> None:
    update = np.concatenate([np.zeros(10, np.float32), np.ones(10, np.float32)])
    quantise = Quantise(bits=4, block=10)
    payload = quantise.compress(update, label=LABEL, coins=coins())
    assert quantise.restore(payload, dimension=20, label=LABEL).tolist() == update.tolist()


def test_the_largest_and_the_smallest_floats_survive() -> None:
    update = np.array([3.4e38, -3.4e38, 1e-45, 0.0], np.float32)
    quantise = Quantise(bits=8)
    found = quantise.restore(quantise.compress(update, label=LABEL, coins=coins()), dimension=4, label=LABEL)
    np.testing.assert_allclose(found[:2], update[:2], rtol=1e-6)


def test_a_code_without_a_level_is_refused() -> None:
    quantise = Quantise(bits=4)
    payload = quantise.compress(UPDATE[:2], label=LABEL, coins=coins())
    payload[-1] = 0xFF
    with pytest.raises(MalformedMessage, match="code 15 stands for no level; the last is 14"):
        quantise.restore(payload, dimension=2, label=LABEL)


@pytest.mark.parametrize("scale", [np.nan, np.inf, -1.0])
def test_a_scale_that_is_none_is_refused(scale: float) -> None:
    quantise = Quantise(bits=4)
    payload = quantise.compress(UPDATE[:2], label=LABEL, coins=coins())
    payload[:4] = np.array([scale], "<f4").view(np.uint8)
    with pytest.raises(MalformedMessage, match="scale is negative, NaN or infinite"):
        quantise.restore(payload, dimension=2, label=LABEL)


def test_the_largest_are_kept_and_nothing_else() -> None:
    top = TopK(fraction=0.01)
    found = top.restore(top.compress(UPDATE, label=LABEL, coins=coins()), dimension=3000, label=LABEL)
    assert np.count_nonzero(found) == 30
    kept = found != 0
    assert (found[kept] == UPDATE[kept]).all()
    assert np.abs(UPDATE[kept]).min() >= np.abs(UPDATE[~kept]).max()


@pytest.mark.parametrize("places", [[1, 1], [2, 1], [0, 4]])
def test_places_that_are_out_of_order_or_range_are_refused(places: list[int]) -> None:
    payload = np.concatenate([np.array(places, "<u4").view(np.uint8), np.ones(2, "<f4").view(np.uint8)])
    with pytest.raises(MalformedMessage, match="places are not in order or not below 4"):
        TopK(fraction=0.5).restore(payload, dimension=4, label=LABEL)


def test_everyone_sends_the_same_coordinates_and_others_next_round() -> None:
    some = RandomK(fraction=0.1)
    ones = np.ones(1000, np.float32)

    def places(label: tuple[str, int], seed: int) -> list[int]:
        payload = some.compress(ones, label=label, coins=coins(seed))
        return np.flatnonzero(some.restore(payload, dimension=1000, label=label)).tolist()

    assert places(("run", 0), 1) == places(("run", 0), 2)
    assert places(("run", 0), 1) != places(("run", 1), 1) != places(("other", 1), 1)
    assert len(places(("run", 0), 1)) == 100


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: Quantise(bits=1), r"bits=1 must lie in \[2, 16\]"),
        (lambda: Quantise(bits=17), r"bits=17 must lie in \[2, 16\]"),
        (lambda: Quantise(block=0), "block=0 must be at least 1"),
        (lambda: TopK(fraction=0.0), "fraction=0.0 must be positive"),
        (lambda: TopK(fraction=1.5), "fraction=1.5 must be at most 1"),
        (lambda: RandomK(fraction=-1.0), "fraction=-1.0 must be positive"),
        (lambda: RandomK(fraction=2.0), "fraction=2.0 must be at most 1"),
    ],
)
def test_options_out_of_range_are_refused(build: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build()  # type: ignore[operator]
