"""Noise that is rounded as it is added has the law of rounding exact numbers."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from fedlearn.crypto.prg import Keystream
from fedlearn.crypto.rounded_gaussian import (
    STDDEV,
    add_rounded_gaussian,
    carry_probability,
    integer_law,
)


def normal_between(low: mpmath.mpf, high: mpmath.mpf) -> mpmath.mpf:
    """P(low ≤ n < high) for n of stddev 64."""
    return mpmath.ncdf(high / STDDEV) - mpmath.ncdf(low / STDDEV)


def test_integer_thresholds_are_normal_probabilities_to_75_bits() -> None:
    law = integer_law()
    assert 10.9 * STDDEV < -law.least < 11.1 * STDDEV
    with mpmath.workprec(300):
        for k in [*range(law.least, -law.least, 97), 0]:
            threshold = (int(law.high[k - law.least]) << 64) + int(law.low[k - law.least])
            exact = mpmath.ncdf((mpmath.mpf(k) + 0.5) / STDDEV)
            assert abs(exact - mpmath.mpf(threshold) / 2**128) < mpmath.mpf(2) ** -80


@settings(max_examples=100)
@given(st.integers(-707, 707), st.floats(0, 1, exclude_max=True))
def test_carries_have_the_normal_probability(integer: int, fraction: float) -> None:
    with mpmath.workprec(300):
        middle, f = mpmath.mpf(integer), mpmath.mpf(fraction)
        cell = normal_between(middle - 0.5, middle + 0.5)
        exact = float(normal_between(middle + 0.5 - f, middle + 0.5) / cell)
    found = carry_probability(np.array([integer]), np.array([fraction]))[0]
    assert found == pytest.approx(exact, abs=2.0**-49)


class Chosen:
    """Stands for a keystream: the 16-bit words given, and one value for all longer ones."""

    def __init__(self, leading: NDArray[np.uint16], dice: NDArray[np.uint16], longer: int) -> None:
        self._short = [leading, dice]
        self._longer = longer

    def __call__(self, count: int, dtype: type[np.unsignedinteger[Any]]) -> NDArray[Any]:
        return self._short.pop(0) if dtype is np.uint16 else np.full(count, self._longer, dtype)


@pytest.mark.parametrize("longer", [0, 2**64 - 1])
@pytest.mark.parametrize("reach", [1.0, 1000.0, 1e7])
def test_no_short_cut_decides_against_the_exact_rule(longer: int, reach: float) -> None:
    """Every value is recomputed from its bits: the law's integer, and the die against the carry's H."""
    rng = np.random.default_rng(5)
    size = 200_000
    values = rng.uniform(-reach, reach, size).astype(np.float32)
    leading, dice = (rng.integers(0, 2**16, size, np.uint16) for _ in range(2))
    # A quarter of the dice is thrown at the edge of the decision itself.
    fractions = values.astype(np.float64) % 1.0
    dice[: size // 4] = np.clip(fractions[: size // 4] * 65536 + rng.integers(-600, 601, size // 4), 0, 65535)
    found = add_rounded_gaussian(values, stddev=float(STDDEV), words=Chosen(leading, dice, longer))
    integers = integer_law().decide(leading, Chosen(leading, dice, longer))
    uniforms = (dice + longer / 2**64) / 2**16
    carries = uniforms < carry_probability(integers, fractions)
    np.testing.assert_array_equal(
        found, (np.floor(values.astype(np.float64)) + integers + carries).astype(np.float32)
    )


@pytest.mark.parametrize("value", [0.0, 0.37, -0.5, 5000.25])
def test_samples_fit_the_cells_of_the_right_scale_and_no_other(value: float) -> None:
    """Chi-square over cells at a million values; the stream is fixed, so nothing fails by chance."""
    words = Keystream(bytes(range(32))).take
    sample = add_rounded_gaussian(np.full(1_000_000, value, np.float32), stddev=1.0, words=words)
    whole = np.rint(sample.astype(np.float64) * STDDEV)
    # 64 equal cells and the grid points between them: offsets of the rounding would show.
    edges = np.rint(value * STDDEV + STDDEV * stats.norm.ppf(np.arange(1, 64) / 64)) + 0.5
    counts = np.bincount(np.searchsorted(edges, whole), minlength=64)
    for scale, fits in ((1.0, True), (0.99, False), (1.01, False)):
        below = stats.norm.cdf(edges, loc=value * STDDEV, scale=STDDEV * scale)
        expected = np.diff([0.0, *below, 1.0]) * len(whole)
        p_value = stats.chisquare(counts, expected).pvalue
        assert p_value > 0.01 if fits else p_value < 1e-6


def test_nothing_in_gives_nothing_out() -> None:
    assert (
        add_rounded_gaussian(np.zeros(0, np.float32), stddev=1.0, words=Keystream(bytes(32)).take).size == 0
    )
