"""The weighted mean: Σ wᵢ·uᵢ / Σ wᵢ (McMahan et al. 2017, Algorithm 1).

The sum does not depend on the order or the grouping of the updates, bit for bit: each update is rounded
to integers first, and integers add exactly. So any number of workers gives the same model, and so does
any order in which replies arrive.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from fedlearn._types import Vector
from fedlearn.aggregators.accumulator import check_addition
from fedlearn.errors import ProtocolError, TooFewClients

_SPAN: Final = 8
_BITS: Final = 46
_MOST_UPDATES: Final = 1 << 17
"""Updates in one sum: 2¹⁷ magnitudes of 2⁴⁶ each stay within the 64 bits of the total."""

# Added to a double below 2^51 this rounds it to an integer, which is then in the double's low bits; the
# bits of the rounder itself are taken off a sum at its end, once for all updates in it.
_ROUNDER: Final = 1.5 * 2.0**52
_ROUNDER_BITS: Final = int(np.float64(_ROUNDER).view(np.int64))
_CHUNK: Final = 1 << 14
"""Values rounded at a time: 128 KB of doubles stay in a core's cache beside what they are added to."""


@dataclass(kw_only=True, eq=False)
class _Part:
    """The updates of one scale: Σ round(wᵢ·uᵢ / grid), and the rounder's bits once for each, modulo 2⁶⁴."""

    values: NDArray[np.int64]
    rounders: int = 0

    def exact(self, span: slice = slice(None), out: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """Returns Σ round(wᵢ·uᵢ / grid) of a span of coordinates, a copy or written to ``out``."""
        surplus = np.uint64(self.rounders * _ROUNDER_BITS % 2**64).astype(np.int64)
        return np.subtract(self.values[span], surplus, out=out)


@dataclass(kw_only=True, eq=False)
class WeightedSum:
    """A running weighted sum, exact in fixed point; partial sums of several workers merge into one.

    An update is rounded to a grid that its own largest coordinate M picks: to within 2⁻³⁹·M at worst.
    Memory is O(model), whatever the cohort.

    Attributes:
      size: d; None before the first update.
      count: number of updates taken.
      exact_weight: Σ wᵢ, exact.
    """

    size: int | None = None
    count: int = 0
    exact_weight: Fraction = Fraction(0)
    _parts: dict[int, _Part] = field(default_factory=dict, repr=False)
    _scratch: NDArray[np.float64] = field(default_factory=lambda: np.empty(0), repr=False)

    @property
    def weight(self) -> float:
        """Σ wᵢ."""
        return float(self.exact_weight)

    @property
    def total(self) -> NDArray[np.float64] | None:
        """Σ wᵢ·uᵢ, shape (d,), float64, a copy; None before the first update."""
        if self.size is None:
            return None
        return self._total_of(slice(self.size))

    def integers(self) -> dict[int, NDArray[np.int64]]:
        """Returns scale j → Σ round(wᵢ·uᵢ / 2^(8j−46)), shape (d,), copies.

        An update is in the scale with 2^(8j−8) < M ≤ 2^8j; there are rarely more than two.
        """
        return {scale: part.exact() for scale, part in self._parts.items()}

    def write_integers(self, place: Callable[[int], NDArray[np.int64]]) -> list[int]:
        """Writes what :meth:`integers` returns to the place of each scale; returns the scales."""
        for scale, part in self._parts.items():
            part.exact(out=place(scale))
        return list(self._parts)

    @classmethod
    def over(
        cls, integers: Mapping[int, NDArray[np.int64]], *, size: int, count: int, exact_weight: Fraction
    ) -> Self:
        """Returns the sum whose :meth:`integers` these are, without a copy: to be merged, not added to."""
        parts = {scale: _Part(values=values) for scale, values in integers.items()}
        return cls(size=size, count=count, exact_weight=exact_weight, _parts=parts)

    def add(self, update: Vector, *, weight: float = 1.0) -> None:
        """Takes one client's update; raises ProtocolError if it is not acceptable."""
        largest = check_addition(update, weight=weight, size=self.size)
        self._take(update.size, count=1, weight=Fraction(weight))
        if largest > 0:
            self._add_rounded(update, weight, math.frexp(largest * weight)[1])

    def merge(self, other: WeightedSum) -> None:
        """Takes the updates that another worker summed; ``other`` is left as it is.

        Raises:
          ProtocolError: the two sums have different lengths.
        """
        if other.size is None:
            return
        if self.size not in (None, other.size):
            raise ProtocolError(f"partial sums have shapes ({self.size},) and ({other.size},)")
        self._take(other.size, count=other.count, weight=other.exact_weight)
        for scale, theirs in other._parts.items():
            part = self._part(scale)
            np.add(part.values, theirs.values, out=part.values)
            part.rounders += theirs.rounders

    def result(self) -> Vector:
        """Returns the mean (d,) float32; raises TooFewClients if no update was taken."""
        if self.size is None:
            raise TooFewClients("weighted-mean: 0 updates arrived, 1 is needed")
        mean: Vector = np.empty(self.size, np.float32)
        for start in range(0, self.size, _CHUNK):
            span = slice(start, start + _CHUNK)
            mean[span] = self._total_of(span) / self.weight
        return mean

    def _total_of(self, span: slice) -> NDArray[np.float64]:
        """Returns Σ wᵢ·uᵢ of a span of coordinates, a copy."""
        total = np.zeros(len(range(*span.indices(self.size or 0))))
        for scale, part in sorted(self._parts.items()):
            total += part.exact(span) * _grid(scale)
        return total

    def _take(self, size: int, *, count: int, weight: Fraction) -> None:
        if self.count + count > _MOST_UPDATES:
            raise ProtocolError(
                f"more than {_MOST_UPDATES} updates in one sum; take a smaller cohort.fraction"
            )
        self.size = size
        self.count += count
        self.exact_weight += weight

    def _add_rounded(self, update: Vector, weight: float, exponent: int) -> None:
        scale = -(-exponent // _SPAN)
        part, factor = self._part(scale), weight / _grid(scale)
        if not self._scratch.size:
            self._scratch = np.empty(min(_CHUNK, update.size))
        for start in range(0, update.size, _CHUNK):
            piece, total = update[start : start + _CHUNK], part.values[start : start + _CHUNK]
            rounded = self._scratch[: piece.size]
            np.copyto(rounded, piece)
            np.multiply(rounded, factor, out=rounded)
            np.add(rounded, _ROUNDER, out=rounded)
            np.add(total, rounded.view(np.int64), out=total)
        part.rounders += 1

    def _part(self, scale: int) -> _Part:
        if scale not in self._parts:
            self._parts[scale] = _Part(values=np.zeros(self.size or 0, np.int64))
        return self._parts[scale]


def _grid(scale: int) -> float:
    return math.ldexp(1.0, _SPAN * scale - _BITS)


@dataclass(frozen=True, kw_only=True)
class WeightedMean:
    """Linear in the updates, so it also works on a sum that secure aggregation reveals.

    >>> import numpy as np
    >>> mean = WeightedMean().start()
    >>> mean.add(np.array([1.0], np.float32), weight=1.0)
    >>> mean.add(np.array([4.0], np.float32), weight=2.0)
    >>> mean.result().tolist()
    [3.0]
    """

    linear: ClassVar[bool] = True

    def start(self) -> WeightedSum:
        """Returns an empty sum."""
        return WeightedSum()
