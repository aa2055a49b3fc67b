"""Discrete Gaussians, exact to 2⁻⁷⁰: integers k with probability proportional to exp(−k² / 2σ²).

Up to a stddev of 1024 a value is one look-up in its law. A larger stddev is built of smaller ones: x + 32 y,
with independent discrete Gaussians x and y, has the law of variance σₓ² + 1024 σ_y² (Micciancio and
Walter 2017, section 3).
"""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fedlearn._validate import in_range
from fedlearn.crypto.integer_law import DIGITS, TAIL_BITS, IntegerLaw, Words

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


def _fill(out: NDArray[np.int64], plan: tuple[tuple[int, IntegerLaw], ...], words: Words) -> None:
    (_, first), *rest = plan
    out[:] = first.sample(len(out), words)
    for weight, law in rest:
        out += law.sample(len(out), words).astype(np.int64) * weight


@lru_cache(maxsize=256)
def _plan_of(stddev: float) -> tuple[tuple[int, IntegerLaw], ...]:
    """Returns (weight, law) pairs: the weighed sum of their values has the stddev."""
    weight, plan = 1, []
    while stddev > _WIDEST:
        plan.append((weight, law_of(_INNER)))
        # As a difference of squares, so that a stddev of 2^40 keeps its digits.
        stddev = math.sqrt((stddev - _INNER) * (stddev + _INNER)) / _STRIDE
        weight *= _STRIDE
    plan.append((weight, law_of(stddev)))
    return tuple(plan)


@lru_cache(maxsize=64)
def law_of(stddev: float) -> IntegerLaw:
    """Returns the discrete Gaussian of a stddev from 2⁻⁴ to 1024 as one law."""
    with localcontext() as context:
        context.prec = DIGITS
        return IntegerLaw.of(_weights(Decimal(stddev)))


def _weights(stddev: Decimal) -> list[Decimal]:
    """Returns exp(−k² / 2σ²) for k = 0, 1, … out to the tails; each from the one before it."""
    exponent = -1 / (2 * stddev**2)
    ratio, step = exponent.exp(), (2 * exponent).exp()
    least = Decimal(2) ** -(TAIL_BITS + 8) * min(stddev, Decimal(1))
    weights = [Decimal(1)]
    while weights[-1] > least or len(weights) < 2:
        weights.append(weights[-1] * ratio)
        ratio *= step
    return weights
