"""Symmetric laws on the integers, sampled by the inverse of their distribution function.

The thresholds are kept as 128-bit integers. Sixteen random bits mostly decide a value, by one look-up;
where a threshold begins with these bits, 48 more do, and 64 more if those tie. Look-ups depend on
secrets: the time that they take may betray them to whoever shares the core.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Words: TypeAlias = Callable[[int, type[np.unsignedinteger[Any]]], NDArray[Any]]
"""``(count, unsigned type) -> random words``, shape (count,)."""

DIGITS: Final = 60
"""Decimal digits with which weights are computed."""

TAIL_BITS: Final = 80
"""Weights reach out to where the two tails left out weigh less than 2⁻⁸⁰ of all."""

UNDECIDED: Final = -(1 << 15)
"""Mark of 16 bits that do not decide a value."""

_ALL_ONES: Final = 2**64 - 1


@dataclass(frozen=True, kw_only=True)
class IntegerLaw:
    """The inverse distribution function of a law on −m … m with equal weights for k and −k.

    Attributes:
      least: the least value, −m.
      decided: value for each 16 leading bits, or ``UNDECIDED``; shape (2¹⁶,), int16.
      passed: number of thresholds with smaller leading bits than these, shape (2¹⁶,), int16.
      high: leading 64 bits of the thresholds P(value ≤ k), k = −m … m − 1, and of 1, ascending, uint64.
      low: the 64 bits after those, uint64.
    """

    least: int
    decided: NDArray[np.int16] = field(repr=False)
    passed: NDArray[np.int16] = field(repr=False)
    high: NDArray[np.uint64] = field(repr=False)
    low: NDArray[np.uint64] = field(repr=False)

    @classmethod
    def of(cls, weights: Sequence[Decimal]) -> IntegerLaw:
        """Returns the law with P(k) proportional to ``weights[abs(k)]``, k = 0 … m, m < 2¹⁴."""
        thresholds = _thresholds(weights)
        least = 1 - len(weights)
        leading = [threshold >> 112 for threshold in thresholds]
        passed = np.searchsorted(np.array(leading), np.arange(1 << 16), side="left")
        decided = least + passed
        decided[leading] = UNDECIDED
        return cls(
            least=least,
            decided=decided.astype(np.int16),
            passed=passed.astype(np.int16),
            high=np.array([*(threshold >> 64 for threshold in thresholds), _ALL_ONES], np.uint64),
            low=np.array([*(threshold & _ALL_ONES for threshold in thresholds), _ALL_ONES], np.uint64),
        )

    def sample(self, count: int, words: Words) -> NDArray[np.int16]:
        """Returns ``count`` values, shape (count,), int16."""
        return self.values(words(count, np.uint16), words)

    def values(self, leading: NDArray[np.uint16], words: Words) -> NDArray[np.int16]:
        """Returns the values whose uniforms begin with these 16 bits, shape as given, int16."""
        values: NDArray[np.int16] = self.decided.take(leading.astype(np.intp), mode="wrap")
        undecided = np.flatnonzero(values == UNDECIDED)
        if len(undecided):
            values[undecided] = self.decide(leading[undecided], words)
        return values

    def decide(self, leading: NDArray[np.uint16], words: Words) -> NDArray[np.int64]:
        """Returns what :meth:`values` does, with more bits for every value, also where 16 decide it."""
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


def _thresholds(weights: Sequence[Decimal]) -> list[int]:
    """Returns P(value ≤ k) · 2¹²⁸, rounded down, for k = −m … m − 1."""
    with localcontext() as context:
        context.prec = DIGITS
        total = 2 * sum(weights[1:]) + weights[0]
        sums, running = [], Decimal(0)
        for weight in [*reversed(weights[1:]), *weights[:-1]]:
            running += weight
            sums.append(int(running / total * 2**128))
    return sums
