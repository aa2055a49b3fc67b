"""Randomness that privacy rests on: normals, coins and uniforms from an OS-keyed AES-CTR stream.

``torch.manual_seed`` must not reach privacy noise, or whoever knows the seed subtracts it. A source
is keyed by the operating system, and keyed anew in a forked child, so that two processes never share
a stream. Only a simulation may ask for a reproducible one, and its results carry that mark.
"""

from __future__ import annotations

import hashlib
import math
import os
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fedlearn.crypto.prg import Keystream

_PER_DRAW = 4
_CHUNK = 1 << 16


class NoiseSource:
    """A stream of secret randomness.

    Guarantee: values are a function of 256 bits of the operating system, never of a user's seed,
    unless the source says ``reproducible``.

    Attributes:
      reproducible: whether a seed decides the values: simulation only, protects nothing.
      draws: number of noise vectors drawn so far; executed steps and charged steps must equal it.
    """

    def __init__(self) -> None:
        self.reproducible = False
        self.draws = 0
        self._stream = Keystream.from_os()
        self._owner = os.getpid()

    @classmethod
    def reproducible_from(cls, *label: str | int) -> Self:
        """Returns a source whose values the label decides; for simulations that must repeat."""
        source = cls()
        source.reproducible = True
        source._stream = Keystream(hashlib.sha256(repr(("fedlearn reproducible", *label)).encode()).digest())
        return source

    def uniform(self, count: int) -> NDArray[np.float64]:
        """Returns uniforms on the open interval (0, 1), shape (count,), float64, on a grid of 2⁻⁵³."""
        if not self.reproducible and os.getpid() != self._owner:
            self._stream, self._owner = Keystream.from_os(), os.getpid()
        words = self._stream.take(count, np.uint64)
        values: NDArray[np.float64] = (words >> np.uint64(11)).astype(np.float64)
        values += 0.5
        values *= 2.0**-53
        return values

    def bernoulli(self, count: int, probability: float) -> NDArray[np.bool_]:
        """Returns ``count`` independent coins, True with the probability, to within 2⁻⁵³."""
        return self.uniform(count) < probability

    def normal(self, count: int) -> NDArray[np.float64]:
        """Returns standard normals, shape (count,), float64, by Box and Muller (1958)."""
        pairs = (count + 1) // 2
        out = np.empty((2, pairs))
        for start in range(0, pairs, _CHUNK):
            end = min(start + _CHUNK, pairs)
            radius = np.sqrt(-2.0 * np.log(self.uniform(end - start)))
            angle = 2.0 * math.pi * self.uniform(end - start)
            np.multiply(radius, np.cos(angle), out=out[0, start:end])
            np.multiply(radius, np.sin(angle), out=out[1, start:end])
        return out.reshape(-1)[:count]

    def gaussian(self, count: int, *, stddev: float) -> NDArray[np.float32]:
        """Returns one noise vector N(0, stddev²), shape (count,), float32.

        Each value is the sum of four normals, halved: the low bits of a single float normal betray
        which value was added to it (Mironov 2012); of a sum of four they do not, at a cost of
        about 2⁵³ tries for each coordinate (Holohan and Braghin 2021, section 5).
        """
        self.draws += 1
        total = self.normal(count)
        for _ in range(_PER_DRAW - 1):
            total += self.normal(count)
        total *= stddev / math.sqrt(_PER_DRAW)
        return total.astype(np.float32)
