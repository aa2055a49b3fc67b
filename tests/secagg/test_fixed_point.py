"""Reals in the ring: exact bounds, unbiased rounding, and no value that is silently changed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from fedlearn.crypto.prg import Keystream
from fedlearn.errors import ConfigError, UnencodableVector
from fedlearn.secagg.fixed_point import FixedPoint
from fedlearn.secagg.ring import add_in_ring, ideal_sum, ring_dtype
from fedlearn.secagg.rounding import CHUNK

BITS = [16, 32, 64]


def encoding_for(bits: int, **options: Any) -> FixedPoint:
    chosen = {"clients": 10, "value_range": 1.0, "modulus_bits": bits, **options}
    return FixedPoint.for_exact_sum(**chosen)


@given(
    data=st.data(),
    bits=st.sampled_from(BITS),
    clients=st.integers(1, 1000),
    value_range=st.floats(0.0010000000474974513, 20.0, width=32),
    dtype=st.sampled_from([np.float32, np.float64]),
)
@settings(max_examples=80)
def test_the_decoded_sum_is_within_a_step_per_client(
    data: st.DataObject, bits: int, clients: int, value_range: float, dtype: type
) -> None:
    max_weight = data.draw(st.floats(0.1, 1.0))
    encoding = encoding_for(bits, clients=clients, value_range=value_range, max_weight=max_weight)
    assert clients * encoding.limit < 2 ** (bits - 1)
    values = st.floats(-value_range, value_range, width=64 if dtype is np.float64 else 32)
    vectors = data.draw(st.lists(hnp.arrays(dtype, 3, elements=values), min_size=1, max_size=4))
    weights = data.draw(st.lists(st.floats(0, max_weight), min_size=4, max_size=4))
    pairs = list(zip(vectors, weights, strict=False))
    total = ideal_sum(encoding.encode(vector, weight=weight) for vector, weight in pairs)
    real = sum(np.float64(weight) * vector.astype(np.float64) for vector, weight in pairs)
    # Besides the rounding, a float32 product is off by half a unit in its last place.
    slack = len(pairs) * (2.0**-encoding.fractional_bits + 2.0**-23 * value_range * max_weight)
    assert np.abs(encoding.decode(total) - real).max() <= slack


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("clients", [1, 7, 64])
def test_a_full_cohort_of_extremes_does_not_wrap(bits: int, clients: int) -> None:
    encoding = encoding_for(bits, clients=clients, value_range=0.7)
    extreme = np.array([0.7, -0.7])
    total = ideal_sum([encoding.encode(extreme)] * clients)
    np.testing.assert_allclose(
        encoding.decode(total), clients * extreme, atol=clients * 2.0**-encoding.fractional_bits
    )


@pytest.mark.parametrize("bits", BITS)
def test_one_more_fractional_bit_would_overflow(bits: int) -> None:
    finest = encoding_for(bits)
    if finest.fractional_bits == 52:
        return
    with pytest.raises(ConfigError, match=rf"overflow .* fractional_bits to {finest.fractional_bits}"):
        encoding_for(bits, fractional_bits=finest.fractional_bits + 1)
    assert 10 * finest.limit < 2 ** (bits - 1) <= 20 * finest.limit + 20


def test_a_range_that_fits_no_resolution_is_refused() -> None:
    with pytest.raises(ConfigError, match="raise modulus_bits"):
        FixedPoint.for_exact_sum(clients=2**16, value_range=1e20, modulus_bits=16)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1.0000002, -1.0000002, 1e38])
@pytest.mark.parametrize("place", [0, 2**14, 2**14 + 9])
def test_values_that_do_not_fit_are_errors_that_name_the_place(bad: float, dtype: type, place: int) -> None:
    vector: NDArray[Any] = np.zeros(2**14 + 10, dtype)
    vector[place] = bad
    with pytest.raises(UnencodableVector, match=rf"coordinate {place} is .* value_range=1.0"):
        encoding_for(32).encode(vector)


@pytest.mark.parametrize("weight", [-0.1, 1.1, math.nan])
def test_weights_beyond_the_agreed_are_refused(weight: float) -> None:
    with pytest.raises(ConfigError, match="weight="):
        encoding_for(32).encode(np.zeros(1, np.float32), weight=weight)


@pytest.mark.parametrize(("shape", "dtype"), [((2, 2), "f4"), ((2,), "i4"), ((2,), "f2")])
def test_other_shapes_and_types_are_refused(shape: tuple[int, ...], dtype: str) -> None:
    with pytest.raises(UnencodableVector, match="is encoded"):
        encoding_for(32).encode(np.zeros(shape, dtype))


def test_sums_of_another_ring_are_refused() -> None:
    with pytest.raises(UnencodableVector):
        encoding_for(32).decode(np.zeros(2, "<u2"))
    with pytest.raises(UnencodableVector):
        add_in_ring(np.zeros(2, "<u2"), np.zeros(3, "<u2"))
    with pytest.raises(ConfigError, match="at least one"):
        ideal_sum([])
    with pytest.raises(ConfigError, match="modulus_bits=8"):
        ring_dtype(8)


@pytest.mark.parametrize("bits", BITS)
def test_the_empty_vector_is_encoded(bits: int) -> None:
    assert encoding_for(bits).encode(np.zeros(0, np.float32)).size == 0


@pytest.mark.parametrize(("bits", "dtype"), [(16, "f4"), (32, "f4"), (32, "f8"), (64, "f4")])
def test_integers_are_encoded_without_rounding(bits: int, dtype: str) -> None:
    encoding = encoding_for(bits, value_range=8.0, fractional_bits=3)
    values = np.arange(-64, 65) / 8
    np.testing.assert_array_equal(encoding.decode(encoding.encode(values.astype(dtype))), values)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounding_is_unbiased(dtype: type) -> None:
    """False alarm in fewer than 1 of 10⁹ runs: 6 standard deviations of a mean of 2²⁰ coins."""
    count = 2**20
    encoding = FixedPoint(modulus_bits=32, fractional_bits=0, value_range=4.0, clients=1)
    for fraction in (0.25, 0.5, 0.9, -0.3):
        decoded = encoding.decode(encoding.encode(np.full(count, fraction, dtype)))
        assert set(np.unique(decoded)) <= {math.floor(fraction), math.ceil(fraction)}
        odds = fraction - math.floor(fraction)
        assert abs(decoded.mean() - float(dtype(fraction))) < 6 * math.sqrt(odds * (1 - odds) / count)


def test_rounding_is_repeatable_from_given_bits_and_fresh_from_the_system() -> None:
    encoding = FixedPoint(modulus_bits=16, fractional_bits=0, value_range=1.0, clients=1)
    halves = np.full(256, 0.5, np.float32)
    first, second = (encoding.encode(halves, bits=Keystream(bytes(32))) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    # Two draws of 256 fair coins are equal in one of 2^256 runs.
    assert (encoding.encode(halves) != encoding.encode(halves)).any()


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("weight", [0.1, 0.3, 0.7, 1.0])
def test_products_that_float32_rounds_up_stay_within_the_limit(bits: int, weight: float) -> None:
    edge = np.nextafter(np.float32(0.1), np.float32(0))
    encoding = encoding_for(bits, clients=1, value_range=float(edge), max_weight=weight)
    encoded = encoding.encode(np.full(2000, edge), weight=weight).view(f"<i{bits // 8}")
    assert np.abs(encoded.astype(np.int64)).max() <= encoding.limit
    assert (encoded > 0).all()


def test_rounding_is_unbiased_beside_a_large_coordinate() -> None:
    """The bits that carry a fraction shrink with the largest coordinate, and stay enough.

    False alarm in fewer than 1 of 10⁹ runs, as above.
    """
    encoding = FixedPoint(modulus_bits=32, fractional_bits=20, value_range=8.0, clients=1)
    vector = np.full(2**20, 0.25 * 2.0**-20, np.float32)
    vector[-1] = 7.9
    steps = encoding.decode(encoding.encode(vector))[:-1] * 2.0**20
    assert abs(steps.mean() - 0.25) < 6 * math.sqrt(0.1875 / steps.size)


@pytest.mark.parametrize(
    "options",
    [
        {"fractional_bits": 60},
        {"value_range": math.inf},
        {"value_range": 0.0},
        {"clients": 0},
        {"max_weight": -1.0},
        {"fractional_bits": 20, "modulus_bits": 16},
        {"modulus_bits": 24},
    ],
)
def test_impossible_encodings_are_refused_at_birth(options: dict[str, Any]) -> None:
    valid = {"modulus_bits": 32, "fractional_bits": 16, "value_range": 1.0, "clients": 5}
    with pytest.raises(ConfigError):
        FixedPoint(**{**valid, **options})


def naive_encoding(encoding: FixedPoint, vector: NDArray[np.float32], bits: Keystream) -> list[int]:
    """The rounding a second time, one coordinate after the other; a power of two scales exactly."""
    steps: list[int] = []
    for start in range(0, len(vector), CHUNK):
        piece = [math.ldexp(x, encoding.fractional_bits) for x in vector[start : start + CHUNK].tolist()]
        places = max(0, min(16, 30 - math.frexp(max(abs(x) for x in piece))[1]))
        width = 8 if places <= 8 else 16
        coins = bits.take(len(piece), f"<u{width // 8}").tolist()
        for x, coin in zip(piece, coins, strict=True):
            cut = math.trunc(math.ldexp(x, places))
            steps.append(((cut + (coin >> (width - places))) >> places) % 2**encoding.modulus_bits)
    return steps


@pytest.mark.parametrize("size", [1, CHUNK + 1])
@pytest.mark.parametrize(("bits", "largest"), [(16, 0.9), (32, 0.9), (32, 2.0**-12)])
def test_a_naive_rounding_agrees_bit_for_bit(bits: int, largest: float, size: int) -> None:
    """Coins of two bytes and of one, in whole chunks and in parts."""
    encoding = encoding_for(bits, clients=20)
    vector = np.random.default_rng(size).uniform(-largest, largest, size).astype(np.float32)
    vector[-1] = largest
    encoded = encoding.encode(vector, bits=Keystream(bytes(32)))
    assert encoded.tolist() == naive_encoding(encoding, vector, Keystream(bytes(32)))


@pytest.mark.parametrize("bits", [16, 32])
def test_each_chunk_is_rounded_by_its_own_largest_coordinate(bits: int) -> None:
    """A large coordinate elsewhere costs a small one nothing.

    False alarm in fewer than 1 of 10⁹ runs, as above.
    """
    encoding = FixedPoint(modulus_bits=bits, fractional_bits=bits - 12, value_range=8.0, clients=1)
    step = 2.0**-encoding.fractional_bits
    vector = np.full(2 * CHUNK, np.float32(step / 1024))
    vector[:CHUNK] = 7.9
    steps = encoding.decode(encoding.encode(vector))[CHUNK:] / step
    assert set(np.unique(steps)) <= {0, 1}
    assert abs(steps.mean() - 1 / 1024) < 6 * math.sqrt(1 / 1024 / CHUNK)


def test_a_bad_value_in_a_later_chunk_is_named_by_its_place_in_the_vector() -> None:
    vector = np.zeros(CHUNK + 5, np.float32)
    vector[CHUNK + 3] = np.nan
    with pytest.raises(UnencodableVector, match=f"coordinate {CHUNK + 3} is nan"):
        encoding_for(32).encode(vector)
