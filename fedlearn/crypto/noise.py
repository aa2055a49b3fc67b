"""Randomness that privacy rests on: Gaussians, integers, coins and uniforms from an OS-keyed AES-CTR stream.

``torch.manual_seed`` must not reach privacy noise, or whoever knows the seed subtracts it. A source
is keyed by the operating system, and keyed anew in a forked child, so that two processes never share
a stream. Only a simulation may ask for a reproducible one, and its results carry that mark.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fedlearn._types import Vector
from fedlearn._validate import in_range, positive
from fedlearn.crypto.discrete_gaussian import discrete_gaussian
from fedlearn.crypto.prg import Keystream
from fedlearn.crypto.rounded_gaussian import add_rounded_gaussian


class NoiseSource:
    """A stream of secret randomness, for one thread.

    Guarantee: values are a function of 256 bits of the operating system, never of a user's seed,
    unless the source says ``reproducible``.

    Attributes:
      reproducible: whether a seed decides the values: simulation only, protects nothing.
      draws: number of noise vectors drawn for a release so far; executed and charged steps must equal it.

    >>> NoiseSource().perturb(np.zeros(3, np.float32), stddev=1.0).shape
    (3,)
    """

    def __init__(self) -> None:
        self.reproducible = False
        self.draws = 0
        self._rekey()

    @classmethod
    def reproducible_from(cls, *label: str | int) -> Self:
        """Returns a source whose values the label decides; for simulations that must repeat."""
        source = cls()
        source.reproducible = True
        source._stream = Keystream(hashlib.sha256(repr(("fedlearn reproducible", *label)).encode()).digest())
        return source

    def uniform(self, count: int) -> NDArray[np.float64]:
        """Returns uniforms on the half-open interval [0, 1), shape (count,), on a grid of 2⁻⁵³."""
        words = self._words(count, np.uint64)
        values: NDArray[np.float64] = (words >> np.uint64(11)).astype(np.float64)
        values *= 2.0**-53
        return values

    def bernoulli(self, count: int, probability: float) -> NDArray[np.bool_]:
        """Returns ``count`` independent coins, True with the probability to within 2⁻⁵³; 0 and 1 are exact.

        Raises:
          ConfigError: the probability lies outside [0, 1].
        """
        in_range(0.0, 1.0, probability=probability)
        return self.uniform(count) < probability

    def seed(self) -> int:
        """Returns 63 secret bits for a generator that needs a seed, as that of dropout masks and views.

        Where such draws are taken in the order of the records, a seed that others know would tie every
        record's draw to who stands before it.
        """
        return int(self._words(1, np.uint64)[0] >> np.uint64(1))

    def discrete_gaussian(self, count: int, *, stddev: float) -> NDArray[np.int64]:
        """Returns integers k with probability ∝ exp(−k² / 2σ²) to within 2⁻⁷⁰, shape (count,): one release.

        Args:
          count: how many.
          stddev: σ, from 2⁻⁴ to 2⁴⁰.

        Raises:
          ConfigError: the stddev lies outside its range.
        """
        values = discrete_gaussian(count, stddev=stddev, words=self._words)
        self.draws += 1
        return values

    def perturb(
        self,
        values: NDArray[np.floating[Any]],
        *,
        stddev: float,
        factor: float = 1.0,
        out: Vector | None = None,
    ) -> Vector:
        """Returns factor · (values + N(0, stddev²)), rounded, shape (d,), float32: one Gaussian release.

        The low bits of a sum of floats betray which value was added (Mironov 2012). So what is returned
        lies on a grid of ``stddev`` / 64, whatever the values, and every point of the grid is reached
        from every value, with the probability of its cell. Rounding after the noise costs no privacy.

        Args:
          values: what is protected, shape (d,), float32 or float64, finite; not changed.
          stddev: standard deviation of the noise, finite and greater than 0.
          factor: public number that the noisy values are multiplied by.
          out: where to write it, shape (d,), float32, apart from the values; None: a new array.

        Raises:
          ConfigError: the stddev is not positive and finite.
        """
        positive(stddev=stddev)
        self.draws += 1
        return add_rounded_gaussian(values, stddev=stddev, words=self._words, factor=factor, out=out)

    def _words(self, count: int, dtype: DTypeLike = np.int64) -> NDArray[Any]:
        if not self.reproducible and os.getpid() != self._owner:
            self._rekey()
        return self._stream.take(count, dtype)

    def _rekey(self) -> None:
        self._stream, self._owner = Keystream.from_os(), os.getpid()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a NoiseSource cannot be copied or sent: two owners of one stream repeat its noise")
