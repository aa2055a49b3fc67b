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

from fedlearn.crypto.entropy import random_bytes
from fedlearn.errors import ConfigError, MalformedMessage

PRIME = 2**256 + 297
ELEMENT_BYTES = 33
# A residue of 64 random bytes is within 2^-255 of uniform.
_WIDE_BYTES = 64


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
    value = 0
    for coefficient in coefficients:
        value = (value * point + coefficient) % PRIME
    return value


@lru_cache(maxsize=256)
def _weights(points: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the Lagrange coefficients at 0, with a single inversion (Montgomery's trick)."""
    _check_points(points)
    denominators = [_denominator(points, point) for point in points]
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


def _denominator(points: tuple[int, ...], point: int) -> int:
    # The product over m != j of (x_m - x_j), times x_j: the numerator then is one product for all.
    # Points are small, so that one reduction at the end is faster than one for every factor.
    return point * math.prod(other - point for other in points if other != point) % PRIME
