"""Secrets in shares: any ``threshold`` of them rebuild the secret, fewer say nothing about it.

Shamir 1979, over the prime field of order 2²⁵⁶ + 297, so that every 32-byte string is a secret.
Python's integers are not constant in time: the sharer computes at home, the rebuilder is given
the shares anyway, and neither answers queries while it does.

>>> shares = split(12345, threshold=2, points=[1, 2, 3])
>>> combine({1: shares[1], 3: shares[3]})
12345
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fedlearn.crypto.entropy import random_bytes
from fedlearn.errors import ConfigError, MalformedMessage

PRIME: Final = 2**256 + 297
ELEMENT_BYTES: Final = 33
# A residue of 64 random bytes is within 2^-255 of uniform.
_WIDE_BYTES: Final = 64
# Points are places in a cohort: differences of five below 2^12 multiply in a machine word.
_SMALL_POINT: Final = 1 << 12
_FACTORS: Final = 5
_REDUCE_EVERY: Final = 32


def split(secret: int, *, threshold: int, points: Sequence[int]) -> dict[int, int]:
    """Returns the share of ``secret`` at each point.

    Args:
      secret: 0 ≤ secret < 2²⁵⁶ + 297.
      threshold: shares that rebuild it; at least 1, at most the number of points.
      points: where the random polynomial is evaluated; distinct, from 1 up.

    Raises:
      ConfigError: the secret is outside the field, a point is 0 or repeated, or the threshold is
        out of range.
    """
    if not 0 <= secret < PRIME:
        raise ConfigError("the secret lies outside the field of order 2^256+297")
    if not 1 <= threshold <= len(points):
        raise ConfigError(f"threshold={threshold} must lie in [1, {len(points)}], the number of points")
    _check_points(points)
    coefficients = [_random_element() for _ in range(threshold - 1)]
    return {point: _evaluate([*coefficients, secret], point) for point in points}


def combine(shares: Mapping[int, int]) -> int:
    """Returns the value at 0 of the polynomial through the shares, point → value.

    The secret if they are at least ``threshold`` true shares; any other number if not: verify it.

    Raises:
      ConfigError: no share, or a point that is 0, negative or beyond the field.
    """
    if not shares:
        raise ConfigError("shares={} rebuild nothing; at least one is needed")
    points = tuple(sorted(shares))
    return sum(w * shares[p] for w, p in zip(_weights(points), points, strict=True)) % PRIME


def element_to_bytes(element: int) -> bytes:
    """Returns a field element as 33 big-endian bytes."""
    return element.to_bytes(ELEMENT_BYTES, "big")


def element_from_bytes(raw: bytes) -> int:
    """Returns the field element of 33 big-endian bytes.

    Raises:
      MalformedMessage: another length, or a value not below 2²⁵⁶ + 297.
    """
    element = int.from_bytes(raw, "big")
    if len(raw) != ELEMENT_BYTES or element >= PRIME:
        raise MalformedMessage(f"{len(raw)} bytes are no field element; {ELEMENT_BYTES} below 2^256+297 are")
    return element


def _check_points(points: Sequence[int]) -> None:
    if len(set(points)) != len(points) or not all(0 < point < PRIME for point in points):
        raise ConfigError(f"points={list(points)} must be distinct, and from 1 up: point 0 is the secret")


def _random_element() -> int:
    return int.from_bytes(random_bytes(_WIDE_BYTES), "big") % PRIME


def _evaluate(coefficients: Sequence[int], point: int) -> int:
    # Points are small, so that a reduction now and then is faster than one for every coefficient.
    value = 0
    for start in range(0, len(coefficients), _REDUCE_EVERY):
        for coefficient in coefficients[start : start + _REDUCE_EVERY]:
            value = value * point + coefficient
        value %= PRIME
    return value


@lru_cache(maxsize=256)
def _weights(points: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the Lagrange coefficients at 0, with a single inversion (Montgomery's trick)."""
    _check_points(points)
    denominators = _denominators(points)
    prefixes = [1]
    for denominator in denominators:
        prefixes.append(prefixes[-1] * denominator % PRIME)
    inverse = pow(prefixes[-1], -1, PRIME)
    weights = [0] * len(points)
    numerator = math.prod(points) % PRIME
    for i in range(len(points) - 1, -1, -1):
        weights[i] = numerator * inverse * prefixes[i] % PRIME
        inverse = inverse * denominators[i] % PRIME
    return tuple(weights)


def _denominators(points: tuple[int, ...]) -> list[int]:
    """Returns for each j the product over m != j of (x_m - x_j), times x_j.

    With x_j in it, the numerator of every weight is one product, of all points.
    """
    if max(points) >= _SMALL_POINT:
        return [j * math.prod(m - j for m in points if m != j) % PRIME for j in points]
    places: NDArray[np.int64] = np.array(points, np.int64)
    factors = places[None, :] - places[:, None]
    np.fill_diagonal(factors, places)
    padded = np.pad(factors, ((0, 0), (0, -len(points) % _FACTORS)), constant_values=1)
    grouped = padded.reshape(len(points), -1, _FACTORS).prod(axis=2)
    return [math.prod(row) % PRIME for row in grouped.tolist()]
