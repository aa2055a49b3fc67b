"""Rounding to integers that bounds the length of the whole vector."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fedlearn.crypto.noise import NoiseSource

LOG_INVERSE_BETA = 0.5
"""log(1/β): rounding is repeated with odds of at most β = e^−½ each time."""


def rounded_norm(length: float, dimension: int) -> float:
    """Returns Δ, the L2 norm that a rounded vector may have.

    Kairouz, Liu and Steinke (2021, Proposition 22):
    Δ² = min{L² + d/4 + √(2 log(1/β)) (L + √d/2), (L + √d)²}.

    Args:
      length: L, bound on the vector's L2 norm before rounding, in integer steps.
      dimension: d.

    >>> round(rounded_norm(1000.0, 4096), 2)
    1001.03
    """
    root = math.sqrt(dimension)
    likely = length**2 + dimension / 4 + math.sqrt(2 * LOG_INVERSE_BETA) * (length + root / 2)
    return math.sqrt(min(likely, (length + root) ** 2))


def round_conditionally(
    vector: NDArray[np.float64], *, greatest_norm: float, noise: NoiseSource
) -> NDArray[np.int64]:
    """Returns integers next to the vector's coordinates, at random, with a norm of at most ``greatest_norm``.

    Each coordinate is rounded up with the odds of its fraction, and all of them anew until the norm holds:
    so the bound is certain, and nearly no bias is paid for it.

    Args:
      vector: shape (d,), of norm L with ``greatest_norm`` ≥ Δ(L, d) of :func:`rounded_norm`.
      greatest_norm: Δ.
      noise: where the coins come from.
    """
    down = np.floor(vector)
    fraction = vector - down
    while True:
        rounded = down + (noise.uniform(len(vector)) < fraction)
        if float(rounded @ rounded) <= greatest_norm**2:
            return rounded.astype(np.int64)
