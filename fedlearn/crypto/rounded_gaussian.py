"""Gaussian noise added and rounded in one stroke, with the law of rounding a sum of real numbers.

What is released is rint(q + n): q real, n Gaussian of stddev s = 64, in units of a grid. Rounding comes
after the noise and costs no privacy; it raises the variance by 1 / 12s², twenty millionths.

Split n = m + r into an integer and a rest in [−½, ½). The integer has a law of its own: one look-up.
The rest only decides whether the fraction f of q carries over, with probability H = P(r ≥ ½ − f | m),
which is f but for the slope of the density within a cell, at most 0.6 % for |m| ≤ 3s. So sixteen random
bits mostly decide that as well; for the few values where they do not, more bits are drawn and
compared with H. No normal is ever computed, and that is where the speed comes from.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fedlearn._types import Vector
from fedlearn.crypto.integer_law import DIGITS, TAIL_BITS, IntegerLaw, Words

STDDEV: Final = 64
"""Standard deviation of the noise in units of the grid."""

_BLOCK: Final = 1 << 15
"""Values made at a time: the block stays in a core's cache."""

_TERMS: Final = 8
"""Terms of a series whose eighth is below 2⁻¹²⁰ of the first."""

_NODES, _SHARES = np.polynomial.legendre.leggauss(8)

_COMMON: Final = 3 * STDDEV
"""Integers beyond this are left to the second pass, so that the first knows their slope.

At three stddevs the second pass has least to do: fewer integers are beyond, more dice are unsure.
"""

_SLOPE: Final = 1.1 * _COMMON / STDDEV**2 / 8
"""Bound on f − H for common integers m ≥ 0, and on H − f for m < 0: |m| / 8s², and some more."""

_OPEN: Final = 2.0**-11
"""Bound on H − f for m ≥ 0, and on f − H for m < 0, with what 16 bits and float32 leave open."""

_LARGEST_IN_FLOAT32: Final = 1024.0
"""Up to here, with an integer of 3s added, float32 is right to 2⁻¹³."""

_FINE: Final = 1.1 * ((11.1 / STDDEV) ** 2 / 120 + 2.0**-19) + 2.0**-15
"""Bound on |H − f + m f (1 − f) / 2s²| for all integers, widened by what 16 bits leave open."""


def add_rounded_gaussian(
    values: NDArray[np.floating[Any]],
    *,
    stddev: float,
    words: Words,
    factor: float = 1.0,
    out: Vector | None = None,
) -> Vector:
    """Returns factor · g · rint((values + N(0, stddev²)) / g), g = stddev / 64, shape (d,), float32.

    The probability of each multiple of g is that of its cell to within 2⁻⁴⁸, from every value; of
    values beyond 2⁵² g only the integer part of the noise is left.

    Args:
      values: finite, shape (d,), float32 or float64; not changed.
      stddev: > 0.
      words: where random bits come from.
      factor: what the noisy values are multiplied by.
      out: where to write it, shape (d,), float32, apart from the values; None: a new array.
    """
    noisy = np.empty(len(values), np.float32) if out is None else out
    grid = stddev / STDDEV
    leading, dice = words(len(values), np.uint16), words(len(values), np.uint16)
    kind = np.float32 if _within(values, _LARGEST_IN_FLOAT32 * grid) else np.float64
    unsure = np.empty(len(values), np.bool_)
    for start in range(0, len(values), _BLOCK):
        block = slice(start, start + _BLOCK)
        scaled = np.multiply(values[block], 1 / grid, dtype=kind)
        whole = _common(scaled, leading[block], dice[block], unsure=unsure[block])
        np.multiply(whole, factor * grid, out=noisy[block], casting="same_kind")
    rest = np.flatnonzero(unsure)
    cells = _exact(values[rest] / np.float64(grid), leading[rest], dice[rest], words)
    noisy[rest] = cells * (factor * grid)
    return noisy


def _common(
    values: NDArray[np.floating[Any]],
    leading: NDArray[np.uint16],
    dice: NDArray[np.uint16],
    *,
    unsure: NDArray[np.bool_],
) -> NDArray[np.floating[Any]]:
    """Returns rint(values + noise) where 16 bits of each kind decide it, and writes where they do not.

    The values are overwritten. With the die u as a uniform, 1 − u is one too: its sum with the fraction
    passes 1 with probability f.
    """
    values += _common_integers().take(leading.astype(np.intp), mode="wrap")
    part = dice.astype(values.dtype)
    part *= values.dtype.type(2.0**-16)
    values -= part
    whole: NDArray[np.floating[Any]] = np.floor(values, out=part)
    np.less(np.subtract(values, whole, out=values), _SLOPE + 2 * _OPEN, out=unsure)
    return whole


def _within(values: Vector, bound: float) -> bool:
    """Returns whether no value is beyond the bound; by the norm, which is quicker, if that says so."""
    if float(np.dot(values, values)) <= bound**2:
        return True
    return bool(max(values.max(), -values.min()) <= bound)


def _exact(
    values: NDArray[np.float64], leading: NDArray[np.uint16], dice: NDArray[np.uint16], words: Words
) -> NDArray[np.float64]:
    """Returns rint(values + noise) where the die, followed by more bits, decides what carries over."""
    integers = integer_law().values(leading, words)
    whole = np.floor(values)
    fractions = values - whole
    likely = fractions * (1 - integers * (1 - fractions) / (2 * STDDEV**2))
    margins = likely - dice * 2.0**-16
    carries = margins > 0
    unsure = np.flatnonzero(np.abs(margins) < _FINE)
    uniforms = (dice[unsure] + words(len(unsure), np.uint64) * 2.0**-64) * 2.0**-16
    carries[unsure] = uniforms < carry_probability(integers[unsure], fractions[unsure])
    return np.add(np.add(whole, integers), carries, dtype=np.float64)


def carry_probability(
    integers: NDArray[np.signedinteger[Any]], fractions: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Returns P(r ≥ ½ − f | m): integrals over exp(−(2mr + r²) / 2s²), by eight-point quadrature."""
    slopes = integers.astype(np.float64) / STDDEV**2
    upper = _integral(slopes, 0.5 - fractions, fractions)
    probabilities: NDArray[np.float64] = upper / _integral(
        slopes, np.full_like(fractions, -0.5), np.ones_like(fractions)
    )
    return probabilities


def _integral(
    slopes: NDArray[np.float64], start: NDArray[np.float64], length: NDArray[np.float64]
) -> NDArray[np.float64]:
    places = start[:, None] + length[:, None] * (0.5 + 0.5 * _NODES)
    heights = np.exp(-places * (slopes[:, None] + places / (2 * STDDEV**2)))
    areas: NDArray[np.float64] = heights @ _SHARES * (0.5 * length)
    return areas


@cache
def _common_integers() -> Vector:
    """Returns the law's first look-up, plus 1 and the margin above f; what it leaves open or is rare is 2⁶⁰.

    The density falls within the cell of a positive integer, so that H is below f there, and above it in
    the cell of a negative one: dice are unsure on one side only.
    Beside 2⁶⁰ no fraction is left, and a fraction of 0 is never sure.
    """
    decided = integer_law().decided.astype(np.float32)
    margins = 1 + _OPEN + _SLOPE * (decided < 0)
    decided[np.abs(decided) > _COMMON] = 2.0**60
    return decided + margins.astype(np.float32)


@cache
def integer_law() -> IntegerLaw:
    """Returns the law of rint(n): the normal probabilities of cells of width 1."""
    with localcontext() as context:
        context.prec = DIGITS
        return IntegerLaw.of(_cells())


def _cells() -> list[Decimal]:
    """Returns the density's integral over the cell around k = 0, 1, … out to the tails, up to a factor."""
    cells = [_cell(Decimal(0))]
    while cells[-1] > Decimal(2) ** -(TAIL_BITS + 8):
        cells.append(_cell(Decimal(len(cells)) / STDDEV))
    return cells


def _cell(place: Decimal) -> Decimal:
    """Returns the mean of exp(−x² / 2) within 1 / 2s of a place, by its Taylor series.

    The 2j-th derivative is the density times He₂ⱼ(place), a Hermite polynomial.
    """
    before, hermite = Decimal(0), Decimal(1)
    factor, mean = Decimal(1), Decimal(0)
    for order in range(2 * _TERMS):
        if order % 2 == 0:
            mean += hermite * factor
        factor /= 2 * STDDEV * (order + 2)
        before, hermite = hermite, place * hermite - order * before
    return mean * (-place * place / 2).exp()
