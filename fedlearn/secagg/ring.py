"""Vectors of residues modulo 2^b: their checks, their sums, and the sum without any keys.

Numpy's unsigned integers wrap, which is the ring's own addition.

>>> ideal_sum([np.array([65535, 1], "<u2"), np.array([2, 3], "<u2")]).tolist()
[1, 4]
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from fedlearn._types import RingVector
from fedlearn.errors import ConfigError, UnencodableVector

MODULUS_BITS = (16, 32, 64)


def ring_dtype(modulus_bits: int) -> np.dtype[np.unsignedinteger]:
    """Returns the little-endian unsigned type of ``modulus_bits`` bits: 16, 32 or 64."""
    if modulus_bits not in MODULUS_BITS:
        raise ConfigError(f"modulus_bits={modulus_bits} must be 16, 32 or 64: whole bytes on the wire")
    return np.dtype(f"<u{modulus_bits // 8}")


def check_ring_vector(vector: NDArray[np.generic], *, dimension: int, modulus_bits: int) -> None:
    """Raises UnencodableVector unless the vector is contiguous, of that length and of that ring."""
    dtype = ring_dtype(modulus_bits)
    if vector.dtype != dtype or vector.shape != (dimension,) or not vector.flags.c_contiguous:
        raise UnencodableVector(
            f"vector of {vector.dtype} {vector.shape}; contiguous {dtype} ({dimension},) is agreed"
        )


def add_in_ring(total: RingVector, vector: RingVector) -> None:
    """Adds a vector to the total in place, modulo 2^b; both of one dtype and shape.

    Raises:
      UnencodableVector: dtype or shape differ.
    """
    if vector.dtype != total.dtype or vector.shape != total.shape:
        raise UnencodableVector(
            f"vector of {vector.dtype} {vector.shape} does not add to {total.dtype} {total.shape}"
        )
    np.add(total, vector, out=total)


def ideal_sum(vectors: Iterable[RingVector]) -> RingVector:
    """Returns the sum that a masked session would give, bit for bit, computed without keys.

    Protects nothing: for simulations, and as the reference in tests. Holds one vector at a time.

    Raises:
      ConfigError: there is no vector.
    """
    total: RingVector | None = None
    for vector in vectors:
        if total is None:
            total = vector.copy()
        else:
            add_in_ring(total, vector)
    if total is None:
        raise ConfigError("vectors=[] have no sum; at least one is needed")
    return total
