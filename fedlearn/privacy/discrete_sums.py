"""Sums of discrete Gaussians: how near to one Gaussian they are, and their published privacy bound.

Clients under secure aggregation each add an integer of their own; the sum of discrete Gaussians is no
discrete Gaussian, only very nearly one.
"""

from __future__ import annotations

import math

from fedlearn.crypto import discrete_gaussian

_ODDS_LEFT_OUT = 2.0**-100


def convolution(*, part_stddev: float, parts: int) -> float:
    """Returns τ: bound on the logarithm of the odds of a sum against those of one discrete Gaussian.

    τ = 10 Σ exp(−2π²σ² k/(k+1)) over k = 1 … n − 1 (Kairouz, Liu and Steinke 2021, Theorem 2), for one
    coordinate, both ways.

    Args:
      part_stddev: σ of one part, in integer steps.
      parts: n, number of parts that are added up.

    >>> convolution(part_stddev=2.0, parts=100) < 1e-14
    True
    """
    exponent = -2.0 * math.pi**2 * part_stddev**2
    # All terms but the first few are nearly exp(exponent): bounding each by the largest of the rest is
    # exact enough, and needs no loop over a thousand clients.
    first = [10.0 * math.exp(exponent * k / (k + 1)) for k in range(1, min(parts, 32))]
    rest = max(0, parts - 32)
    return sum(first) + rest * 10.0 * math.exp(exponent * 32 / 33)


def log_ratio(*, part_stddev: float, parts: int, dimension: int) -> float:
    """Returns a bound on how far the odds of a vector of sums are from a Gaussian rounded to integers.

    With V the variance of the sum: the sum against one discrete Gaussian (:func:`convolution`), and the
    weight of each integer k against the Gaussian's mass around it, whose ratio lies between exp(−1/8V) and
    exp(k²/8V²). Both ways, over all coordinates; the noise is taken to be as long as it is but for odds of
    2⁻¹⁰⁰ (Laurent and Massart 2000, Lemma 1).
    """
    whole = part_stddev**2 * parts
    length = math.sqrt(dimension) * (1.0 + 0.5 / math.sqrt(whole)) + math.sqrt(200.0 * math.log(2.0))
    return (dimension + length**2) / (8.0 * whole) + 2.0 * dimension * convolution(
        part_stddev=part_stddev, parts=parts + 1
    )


def distance(*, parts: int, dimension: int) -> float:
    """Returns the statistical distance of the sampled sums from their law, and the odds left out above."""
    return dimension * parts * discrete_gaussian.TOTAL_VARIATION + _ODDS_LEFT_OUT


def concentrated(*, noise_multiplier: float, part_stddev: float, parts: int, dimension: int) -> float:
    """Returns ε of the ½ε²-concentrated DP of one sum (Kairouz, Liu and Steinke 2021, Theorem 1).

    ε = min{√(1/σ² + τd/2), 1/σ + τ√d} with σ the noise multiplier: the stddev of the sum over the L2
    sensitivity of one client's integers.
    """
    tau = convolution(part_stddev=part_stddev, parts=parts)
    inverse = 1.0 / noise_multiplier
    return min(math.sqrt(inverse**2 + tau * dimension / 2.0), inverse + tau * math.sqrt(dimension))
