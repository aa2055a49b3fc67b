r"""Reals in a ring: fixed point with unbiased rounding, and the proof that a sum cannot overflow.

>>> encoding = FixedPoint.for_exact_sum(clients=10, value_range=1.0, modulus_bits=32)
>>> encoding.fractional_bits
27
>>> total = encoding.encode(np.array([0.5, -0.25], np.float32)) + encoding.encode(np.array([0.25, -0.5]))
>>> encoding.decode(total).tolist()
[0.75, -0.75]
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from fedlearn._types import RingVector
from fedlearn._validate import positive
from fedlearn.crypto.prg import Keystream
from fedlearn.errors import ConfigError, UnencodableVector
from fedlearn.secagg.ring import ring_dtype
from fedlearn.secagg.rounding import CHUNK, RandomBits, StochasticRounding

_MAX_FRACTIONAL_BITS: Final = 52


@dataclass(frozen=True, kw_only=True)
class FixedPoint:
    r"""The value x with weight w is the integer nearest w · x · 2^f below or above, modulo 2^b.

    It is rounded up with the odds of its fraction, so that the encoding is unbiased: to within 2⁻¹⁶ of
    a step, or 2⁻²⁹ of the vector's largest coordinate where that is more. The coins are secret bits,
    independent of the masks.

    =====================  ==========================
    NaN or infinite        UnencodableVector
    beyond value_range     UnencodableVector, no clip
    negative               two's complement
    =====================  ==========================

    Guarantee: with :meth:`for_exact_sum`, the decoded sum of ``clients`` encoded vectors differs from
    the sum of the reals by less than clients · 2^-f in every coordinate.

    Attributes:
      modulus_bits: b, 16, 32 or 64.
      fractional_bits: f; one step of the ring is 2^-f.
      value_range: largest magnitude of a coordinate before weighting; finite.
      clients: largest number of vectors in a sum.
      max_weight: largest weight.
    """

    modulus_bits: int
    fractional_bits: int
    value_range: float
    clients: int
    max_weight: float = 1.0

    def __post_init__(self) -> None:
        ring_dtype(self.modulus_bits)
        positive(value_range=self.value_range, clients=self.clients, max_weight=self.max_weight)
        if not -_MAX_FRACTIONAL_BITS <= self.fractional_bits <= _MAX_FRACTIONAL_BITS:
            raise ConfigError(
                f"fractional_bits={self.fractional_bits} must lie in"
                f" [{-_MAX_FRACTIONAL_BITS}, {_MAX_FRACTIONAL_BITS}], the precision of a float"
            )
        if self.limit >= 2 ** (self.modulus_bits - 1):
            raise ConfigError(
                f"value_range={self.value_range} · max_weight={self.max_weight} is {self.limit} steps of"
                f" 2^-{self.fractional_bits}, and half of the ring has {2 ** (self.modulus_bits - 1)}; lower"
                " fractional_bits"
            )

    @classmethod
    def for_exact_sum(
        cls,
        *,
        clients: int,
        max_weight: float = 1.0,
        value_range: float,
        modulus_bits: int,
        fractional_bits: int | None = None,
    ) -> Self:
        """Returns an encoding whose sums provably never wrap: clients · w_max · q_max < 2^(b-1).

        Args:
          clients: most vectors in a sum.
          max_weight: largest weight, > 0.
          value_range: largest magnitude of a coordinate, > 0.
          modulus_bits: 16, 32 or 64.
          fractional_bits: f; None takes the most that cannot overflow.

        Raises:
          ConfigError: the sum could overflow the ring; says by how much and what would fit.
        """
        ring_dtype(modulus_bits)
        positive(value_range=value_range, clients=clients, max_weight=max_weight)
        finest = _finest_exact(clients, max_weight * value_range, modulus_bits)
        chosen = finest if fractional_bits is None else fractional_bits
        if chosen > finest:
            raise ConfigError(
                f"the sum would overflow the ring: clients={clients} · max_weight={max_weight} ·"
                f" value_range={value_range} · 2^{chosen} reaches 2^{modulus_bits - 1}; lower"
                f" fractional_bits to {finest} or raise modulus_bits={modulus_bits}"
            )
        return cls(
            modulus_bits=modulus_bits,
            fractional_bits=chosen,
            value_range=value_range,
            clients=clients,
            max_weight=max_weight,
        )

    @property
    def limit(self) -> int:
        """The largest magnitude of an encoded integer: ⌈max_weight · value_range · 2^f⌉."""
        return _limit(self.max_weight * self.value_range, self.fractional_bits)

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """The type of encoded vectors: little-endian, unsigned."""
        return ring_dtype(self.modulus_bits)

    def encode(
        self, vector: NDArray[np.floating], *, weight: float = 1.0, bits: RandomBits | None = None
    ) -> RingVector:
        """Returns the vector in the ring, a new contiguous array of ``dtype``.

        Args:
          vector: shape (d,), float32 or float64, magnitudes at most ``value_range``.
          weight: 0 ≤ weight ≤ ``max_weight``.
          bits: secret bits for rounding; None draws fresh ones from the operating system.

        Raises:
          UnencodableVector: a value is not finite or beyond ``value_range``; says where and how large.
          ConfigError: the weight is out of range.
        """
        if not 0 <= weight <= self.max_weight:
            raise ConfigError(f"weight={weight} must lie in [0, {self.max_weight}], the agreed max_weight")
        if vector.ndim != 1 or vector.dtype not in (np.float32, np.float64):
            raise UnencodableVector(f"vector of {vector.dtype} {vector.shape}; float32 (d,) is encoded")
        rounding = StochasticRounding(Keystream.from_os() if bits is None else bits)
        scale = weight * 2.0**self.fractional_bits
        out: RingVector = np.empty(vector.size, self.dtype)
        for start in range(0, vector.size, CHUNK):
            piece = vector[start : start + CHUNK]
            magnitude = self._largest(piece, start) * scale
            rounding.write(
                piece, scale, magnitude=magnitude, limit=self.limit, out=out[start : start + CHUNK]
            )
        return out

    def decode(self, total: RingVector) -> NDArray[np.float64]:
        """Returns the reals of a sum, shape (d,), float64: residues from −2^(b-1) up, times 2^-f.

        Raises:
          UnencodableVector: the vector is of another ring.
        """
        if total.dtype != self.dtype:
            raise UnencodableVector(f"sum of {total.dtype}; this encoding has {self.dtype}")
        signed = total.view(f"<i{total.itemsize}")
        return signed * 2.0**-self.fractional_bits

    def _largest(self, piece: NDArray[np.floating], start: int) -> float:
        """Returns the largest magnitude of the coordinates from ``start`` on; raises UnencodableVector."""
        largest = max(float(np.maximum.reduce(piece)), -float(np.minimum.reduce(piece)))
        # A NaN is its own largest and smallest, and fails every comparison.
        if not largest <= self.value_range:
            place = int(np.argmin(np.abs(piece) <= self.value_range))
            raise UnencodableVector(
                f"coordinate {start + place} is {piece[place]}, beyond value_range={self.value_range}; raise"
                " secure_aggregation.value_range or clip the update"
            )
        return largest


def _finest_exact(clients: int, magnitude: float, modulus_bits: int) -> int:
    """Returns the largest f ≤ 52 with clients · ⌈magnitude · 2^f⌉ < 2^(b-1)."""
    for fractional_bits in range(_MAX_FRACTIONAL_BITS, -_MAX_FRACTIONAL_BITS - 1, -1):
        if clients * _limit(magnitude, fractional_bits) < 2 ** (modulus_bits - 1):
            return fractional_bits
    raise ConfigError(
        f"the sum would overflow the ring: clients={clients} · {magnitude} does not fit"
        f" modulus_bits={modulus_bits} at any resolution; raise modulus_bits or lower value_range"
    )


def _limit(magnitude: float, fractional_bits: int) -> int:
    return math.ceil(math.ldexp(magnitude, fractional_bits))
