"""Discrete Gaussians, exact to 2⁻⁷⁰: integers k with probability proportional to exp(−k² / 2σ²).

Up to a stddev of 1024 a value is the inverse of the distribution function, whose thresholds are kept
as 128-bit integers. Sixteen random bits mostly decide it, by one look-up; where a threshold begins with
these bits, 48 more do, and 64 more if those tie. A larger stddev is built of smaller ones: x + 32 y, with
independent discrete Gaussians x and y, has the law of variance σₓ² + 1024 σ_y² (Micciancio and Walter
2017, section 3). Look-ups depend on secrets: the time and the caches of a shared core may betray them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from functools import lru_cache
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedlearn._validate import in_range

Words: TypeAlias = Callable[[int, type[np.unsignedinteger[Any]]], NDArray[Any]]
"""``(count, unsigned type) -> random words``, shape (count,)."""

LEAST_STDDEV: Final = 2.0**-4
GREATEST_STDDEV: Final = 2.0**40
TOTAL_VARIATION: Final = 2.0**-70
"""Bound on the distance of one value's law from the discrete Gaussian, for every stddev allowed."""

_BLOCK: Final = 1 << 14
"""Values made at a time: the block stays in a core's cache."""

_WIDEST: Final = 1024.0
"""Stddev of the widest table: 22,600 thresholds leave a third of the first 16 bits undecided."""

_STRIDE: Final = 32
_INNER: Final = 80.0
"""x + 32 y has stddev σ > 1024 if x has 80 and y has √(σ² − 80²) / 32 > 31. Given x + 32 y, y is a discrete
Gaussian with 1/τ² = 1/σ_y² + (32/80)², so that τ > 2.4; its centre changes the sum of its weights by
less than 4 exp(−2π²τ²) < 2⁻¹⁶⁰ of itself (Poisson summation), and that is all the law is off by."""

_TAIL_BITS: Final = 80
"""Values of a table reach out to where the two tails weigh 2⁻⁸⁰."""

_UNDECIDED: Final = -(1 << 15)
_ALL_ONES: Final = 2**64 - 1


def discrete_gaussian(count: int, *, stddev: float, words: Words) -> NDArray[np.int64]:
    """Returns ``count`` independent discrete Gaussians around 0, shape (count,), int64.

    Args:
      count: how many.
      stddev: σ of exp(−k² / 2σ²), from 2⁻⁴ to 2⁴⁰; the standard deviation itself is a little smaller
        if σ < 1.
      words: where random bits come from.

    Raises:
      ConfigError: the stddev lies outside its range.

    >>> from fedlearn.crypto.prg import Keystream
    >>> discrete_gaussian(5, stddev=3.0, words=Keystream(bytes(32)).take).tolist()
    [4, 3, 0, -2, -2]
    """
    in_range(LEAST_STDDEV, GREATEST_STDDEV, stddev=stddev)
    plan = _plan_of(stddev)
    values = np.empty(count, np.int64)
    for start in range(0, count, _BLOCK):
        _fill(values[start : start + _BLOCK], plan, words)
    return values


def _fill(out: NDArray[np.int64], plan: tuple[tuple[int, Table], ...], words: Words) -> None:
    (_, first), *rest = plan
    out[:] = first.sample(len(out), words)
    for weight, table in rest:
        out += table.sample(len(out), words).astype(np.int64) * weight


@lru_cache(maxsize=256)
def _plan_of(stddev: float) -> tuple[tuple[int, Table], ...]:
    """Returns (weight, table) pairs whose weighed sum has the stddev."""
    weight, plan = 1, []
    while stddev > _WIDEST:
        plan.append((weight, _table_of(_INNER)))
        # As a difference of squares, so that a stddev of 2^40 keeps its digits.
        stddev = math.sqrt((stddev - _INNER) * (stddev + _INNER)) / _STRIDE
        weight *= _STRIDE
    plan.append((weight, _table_of(stddev)))
    return tuple(plan)


@dataclass(frozen=True)
class Table:
    """The inverse distribution function of one stddev.

    Attributes:
      stddev: σ.
      least: the least value, −m; the greatest is m.
      decided: value for each 16 leading bits, or ``_UNDECIDED``; shape (2¹⁶,), int16.
      passed: number of thresholds with smaller leading bits than these, shape (2¹⁶,), int16.
      high: leading 64 bits of the thresholds P(value ≤ k), k = −m … m − 1, and of 1, ascending, uint64.
      low: the 64 bits after those, uint64.
    """

    stddev: float
    least: int
    decided: NDArray[np.int16] = field(repr=False)
    passed: NDArray[np.int16] = field(repr=False)
    high: NDArray[np.uint64] = field(repr=False)
    low: NDArray[np.uint64] = field(repr=False)

    @classmethod
    def of(cls, stddev: float) -> Table:
        """Returns the table of a stddev from 2⁻⁴ to 128."""
        thresholds = _thresholds(stddev)
        least = -(len(thresholds) // 2)
        leading = [threshold >> 112 for threshold in thresholds]
        passed = np.searchsorted(np.array(leading), np.arange(1 << 16), side="left")
        decided = least + passed
        decided[leading] = _UNDECIDED
        return cls(
            stddev=stddev,
            least=least,
            decided=decided.astype(np.int16),
            passed=passed.astype(np.int16),
            high=np.array([*(threshold >> 64 for threshold in thresholds), _ALL_ONES], np.uint64),
            low=np.array([*(threshold & _ALL_ONES for threshold in thresholds), _ALL_ONES], np.uint64),
        )

    def sample(self, count: int, words: Words) -> NDArray[np.int16]:
        """Returns ``count`` values, shape (count,), int16."""
        leading = words(count, np.uint16)
        values: NDArray[np.int16] = self.decided.take(leading.astype(np.intp), mode="wrap")
        undecided = np.flatnonzero(values == _UNDECIDED)
        if len(undecided):
            values[undecided] = self._decide(leading[undecided], words)
        return values

    def _decide(self, leading: NDArray[np.uint16], words: Words) -> NDArray[np.int64]:
        bits = leading.astype(np.uint64) << np.uint64(48)
        bits |= words(len(bits), np.uint64) >> np.uint64(16)
        passed = self.passed.take(leading).astype(np.intp)
        passed += self.high.take(passed) < bits
        # Leading bits that hold two thresholds or more belong to the tails.
        further = np.flatnonzero(self.high.take(passed) < bits)
        passed[further] = np.searchsorted(self.high, bits[further], side="left")
        for place in np.flatnonzero(self.high.take(passed) == bits):
            passed[place] = self._after_tie(int(bits[place]), words)
        return passed + self.least

    def _after_tie(self, bits: int, words: Words) -> int:
        start, stop = (int(np.searchsorted(self.high[:-1], bits, side=side)) for side in ("left", "right"))
        lower = words(1, np.uint64)[0]
        return start + int(np.searchsorted(self.low[start:stop], lower, side="right"))


@lru_cache(maxsize=64)
def _table_of(stddev: float) -> Table:
    return Table.of(stddev)


def _thresholds(stddev: float) -> list[int]:
    """Returns P(value ≤ k) · 2¹²⁸, rounded down, for k = −m … m − 1, where m leaves tails of 2⁻⁸⁰."""
    with localcontext() as context:
        context.prec = 60
        weights = _weights(Decimal(stddev))
        total = 2 * sum(weights) - weights[0]
        sums, running = [], Decimal(0)
        for weight in [*reversed(weights[1:]), *weights[:-1]]:
            running += weight
            sums.append(int(running / total * 2**128))
    return sums


def _weights(stddev: Decimal) -> list[Decimal]:
    """Returns exp(−k² / 2σ²) for k = 0, 1, … up to 2⁻⁸⁰ of the whole; each from the one before it."""
    exponent = -1 / (2 * stddev**2)
    ratio, step = exponent.exp(), (2 * exponent).exp()
    least = Decimal(2) ** -(_TAIL_BITS + 8) * min(stddev, Decimal(1))
    weights = [Decimal(1)]
    while weights[-1] > least or len(weights) < 2:
        weights.append(weights[-1] * ratio)
        ratio *= step
    return weights
