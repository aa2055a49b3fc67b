"""Integer noise has exactly the law that its users charge for."""

from __future__ import annotations

import os
from typing import Any

import mpmath
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from fedlearn.crypto import discrete_gaussian as module
from fedlearn.crypto.discrete_gaussian import discrete_gaussian, law_of
from fedlearn.crypto.noise import NoiseSource
from fedlearn.errors import ConfigError

MILLION = 1_000_000


def law(stddev: float, reach: int) -> NDArray[np.longdouble]:
    """The probabilities of −reach … reach in extended precision, by direct summation."""
    values = np.arange(-reach, reach + 1, dtype=np.longdouble)
    weights = np.exp(-(values**2) / (2 * np.longdouble(stddev) ** 2))
    probabilities: NDArray[np.longdouble] = weights / weights.sum()
    return probabilities


@pytest.mark.parametrize("stddev", [2.0**-4, 0.3, 1.0, 3.7, 41.5])
def test_thresholds_are_the_distribution_function_to_125_bits(stddev: float) -> None:
    """The oracle is the theta function of mpmath: the sum of all weights, not of those in the table."""
    table = law_of(stddev)
    with mpmath.workprec(400):
        nome = mpmath.exp(-1 / (2 * mpmath.mpf(stddev) ** 2))
        total = mpmath.jtheta(3, 0, nome)
        tail = mpmath.mpf(0)
        for k in range(-table.least, 40 * -table.least):
            tail += nome ** ((k + 1) ** 2)
        running = tail / total
        assert running < mpmath.mpf(2) ** -81
        for k, (high, low) in enumerate(zip(table.high[:-1], table.low[:-1], strict=True), table.least):
            running += nome ** (k**2) / total
            threshold = (int(high) << 64) + int(low)
            # The table leaves both tails out: thresholds may be off by their weight, and by rounding.
            assert abs(running * 2**128 - threshold) <= 2 + tail / total * 2**129


@pytest.mark.parametrize("stddev", [1024.5, 4000.0])
def test_sums_of_tables_follow_the_law_of_the_wider_one(stddev: float) -> None:
    (one, inner), (stride, outer) = module._plan_of(stddev)
    assert one == 1
    assert inner is law_of(80.0)
    assert stride == 32
    parts, spread = law(80.0, -inner.least), law(np.sqrt(stddev**2 - 6400) / 32, -outer.least)
    composed = np.zeros(len(parts) + stride * (len(spread) - 1), np.longdouble)
    for shift, weight in enumerate(parts):
        composed[shift : shift + stride * (len(spread) - 1) + 1 : stride] += weight * spread
    distance = np.abs(composed - law(stddev, len(composed) // 2)).sum() / 2
    assert distance < 1e-15  # what double precision resolves


@pytest.mark.parametrize("stddev", [0.3, 1.0, 10.0, 700.0, 5000.0, 2.0**20])
def test_samples_fit_the_right_scale_and_no_other(stddev: float) -> None:
    """Chi-square over about 60 cells at a million values; the stream is fixed, so nothing fails by chance."""
    sample = NoiseSource.reproducible_from("test discrete", str(stddev)).discrete_gaussian(
        MILLION, stddev=stddev
    )
    assert misfit(sample, stddev) > 0.01
    for wrong in (0.99, 1.01):
        assert misfit(sample, stddev * wrong) < 1e-6


def misfit(sample: NDArray[np.int64], stddev: float) -> float:
    """Returns the p-value of a chi-square test against the law of the stddev."""
    width = max(1, round(stddev / 10))
    # Above 1000 the sum over a cell is the integral to within 1e-9 of itself (midpoint rule).
    edges = np.unique(np.clip(np.arange(-40, 41) * width, -round(6 * stddev) - 1, round(6 * stddev) + 1))
    if stddev < 1000:
        reach = round(14 * stddev) + 2
        below = np.concatenate([[0.0], np.cumsum(law(stddev, reach))])
        expected = np.diff(below[[0, *(edges + reach), -1]]).astype(np.float64)
    else:
        expected = np.diff(stats.norm.cdf([-np.inf, *(edges - 0.5), np.inf], scale=stddev))
    counts = np.bincount(np.searchsorted(edges, sample, side="right"), minlength=len(edges) + 1)
    enough = expected * len(sample) > 25
    pooled = np.append(counts[enough], counts[~enough].sum())
    weights = np.append(expected[enough], expected[~enough].sum()) * len(sample)
    keep = weights > 1
    return float(
        stats.chisquare(pooled[keep], weights[keep] * pooled[keep].sum() / weights[keep].sum()).pvalue
    )


class Script:
    """Stands for a keystream: hands out the words of a list, one call after another."""

    def __init__(self, *words: int) -> None:
        self._words = list(words)

    def __call__(self, count: int, dtype: type[np.unsignedinteger[Any]]) -> NDArray[Any]:
        taken, self._words = self._words[:count], self._words[count:]
        assert len(taken) == count
        return np.array(taken, dtype)


def test_every_threshold_falls_where_its_128_bits_say() -> None:
    """One below a threshold is its value, the threshold itself the next: all three stages are walked."""
    table = law_of(2.0)
    for k, (high, low) in enumerate(zip(table.high[:-1], table.low[:-1], strict=True), table.least):
        for offset, value in ((-1, k), (0, k + 1)):
            bits = (int(high) << 64) + int(low) + offset
            leading, middle, lower = bits >> 112, (bits >> 64) % 2**48 << 16, bits % 2**64
            assert table.sample(1, Script(leading, middle, lower)).tolist() == [value]


def test_extreme_words_give_the_ends_of_the_table() -> None:
    table = law_of(1.0)
    ends = [table.sample(1, Script(ones >> 48, ones, ones))[0] for ones in (0, 2**64 - 1)]
    assert ends == [table.least, -table.least]


def test_bits_that_decide_nothing_are_drawn_afresh_for_each_value() -> None:
    source = NoiseSource.reproducible_from("test discrete independence")
    first, second = (source.discrete_gaussian(100_000, stddev=300.0) for _ in range(2))
    bound = 4.5 / np.sqrt(100_000)  # exceeded once in 150,000 trials
    for one, other in ((first[:-1], first[1:]), (first, second), (first**2, second**2)):
        assert abs(np.corrcoef(one, other)[0, 1]) < bound


def test_forked_child_draws_other_integers() -> None:
    source = NoiseSource()
    source.discrete_gaussian(8, stddev=1e9)
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        os.write(write, source.discrete_gaussian(8, stddev=1e9).tobytes())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    theirs = np.frombuffer(os.read(read, 64), np.int64)
    os.close(read)
    assert len(theirs) == 8
    assert not np.intersect1d(theirs, source.discrete_gaussian(8, stddev=1e9)).size


def test_integers_are_counted_as_a_release_and_may_be_none() -> None:
    source = NoiseSource()
    assert source.discrete_gaussian(0, stddev=1.0).shape == (0,)
    assert source.discrete_gaussian(20_000, stddev=1.0).dtype == np.int64
    assert source.draws == 2


@pytest.mark.parametrize("stddev", [0.0, -1.0, 0.01, 2.0**41, float("nan"), float("inf")])
def test_a_stddev_out_of_range_is_refused(stddev: float) -> None:
    with pytest.raises(ConfigError, match="stddev"):
        discrete_gaussian(1, stddev=stddev, words=Script())
