r"""Unbiased rounding: reals become integers up or down, with the odds of their fraction, by secret coins.

In integers throughout: a value with r binary places, plus r random bits, shifted right by r.

>>> from fedlearn.crypto.prg import Keystream
>>> out = np.empty(4, "<u2")
>>> values = np.array([1.0, -1.0, 0.25, 0.25])
>>> rounding = StochasticRounding(Keystream(bytes(32)))
>>> rounding.write(values, 2.0, magnitude=2.0, limit=2, out=out)
>>> out.view("<i2").tolist()
[2, -2, 1, 0]
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from fedlearn._types import RingVector

CHUNK: Final = 1 << 17
"""Values rounded at a time: large enough that calls cost little, and some 1.3 MiB of memory."""

_COIN_BITS: Final = 16
_BYTE: Final = 8


class RandomBits(Protocol):
    """Secret random bits, such as a :class:`~fedlearn.crypto.prg.Keystream`."""

    def fill(self, out: NDArray[Any]) -> None:
        """Overwrites a contiguous array with random bytes."""
        ...


@dataclass(frozen=True)
class _Path:
    """Types of one width, and the bits of a magnitude that leave room for sign and carry."""

    real: type[np.float32] | type[np.float64]
    integer: type[np.int32] | type[np.int64]
    room: int


_NARROW = _Path(np.float32, np.int32, 30)
_WIDE = _Path(np.float64, np.int64, 62)


class _Scratch:
    """Memory of one chunk; carries take the place of the scaled reals, which are done with by then."""

    def __init__(self, path: _Path, size: int) -> None:
        self.path = path
        self.size = size
        self.scaled: NDArray[np.floating] = np.empty(size, path.real)
        self.carries: NDArray[np.signedinteger] = self.scaled.view(path.integer)
        self.numbers: NDArray[np.signedinteger] = np.empty(size, path.integer)
        self.coins: NDArray[np.uint16] = np.empty(size, "<u2")
        self.byte_coins: NDArray[np.uint8] = self.coins.view(np.uint8)[:size]


class StochasticRounding:
    """Rounds a vector chunk by chunk.

    Guarantee: an integer's mean is its value to within 2⁻¹⁶, or 2⁻²⁹ of the chunk's largest magnitude
    where that is more: fewer places of a fraction fit beside large values, and single precision has
    no more. A coin is as wide as these places.

    Args:
      bits: secret bits, independent of everything else they are used for.
    """

    def __init__(self, bits: RandomBits) -> None:
        self._bits = bits
        self._last = _Scratch(_NARROW, 0)

    def write(
        self,
        values: NDArray[np.floating],
        scale: float,
        *,
        magnitude: float,
        limit: int,
        out: RingVector,
    ) -> None:
        """Writes floor(scale · x + u) into ``out``, u uniform on [0, 1), modulo 2^b.

        Args:
          values: shape (m,), float32 or float64, finite; m up to ``CHUNK`` is fastest.
          scale: steps of the ring per unit.
          magnitude: the largest scale · |x|.
          limit: largest magnitude of a result, at least that of every scale · x rounded away from 0.
          out: shape (m,), contiguous.
        """
        exponent = math.frexp(magnitude)[1]
        wide = values.dtype == np.float64 or out.itemsize == 8 or exponent > _NARROW.room
        path = _WIDE if wide else _NARROW
        places = max(0, min(_COIN_BITS, path.room - exponent))
        memory = self._memory(path, out.size)
        numbers = out.view(path.integer) if out.itemsize == memory.numbers.itemsize else memory.numbers
        np.multiply(values, path.real(scale * 2.0**places), out=memory.scaled)
        np.copyto(numbers, memory.scaled, casting="unsafe")
        np.copyto(memory.carries, self._draw(places, memory))
        np.add(numbers, memory.carries, out=numbers)
        np.right_shift(numbers, places, out=numbers)
        if exponent >= limit.bit_length():
            # The product was rounded to its type's precision, perhaps to a step beyond the limit.
            np.clip(numbers, -limit, limit, out=numbers)
        if numbers is memory.numbers:
            np.copyto(out, numbers, casting="unsafe")

    def _draw(self, places: int, memory: _Scratch) -> NDArray[np.unsignedinteger]:
        """Returns coins of ``places`` bits, drawn as a byte each where that is enough."""
        narrow = places <= _BYTE
        coins = memory.byte_coins if narrow else memory.coins
        surplus = (_BYTE if narrow else _COIN_BITS) - places
        self._bits.fill(coins)
        if surplus:
            np.right_shift(coins, surplus, out=coins)
        return coins

    def _memory(self, path: _Path, size: int) -> _Scratch:
        if self._last.path is not path or self._last.size != size:
            del self._last  # first, so that only one is there at a time
            self._last = _Scratch(path, size)
        return self._last
