"""Integer noise that a cohort adds up to, so that nobody has to add all of it.

Each client rounds its clipped sum to the ring and adds a discrete Gaussian of its own before it masks
the result; only the total over the survivors is ever seen (Kairouz, Liu and Steinke 2021, with the
clipped sums of DP-SGD for values). A part is so large that the noise of the fewest honest survivors, by
itself, protects a record: what colluders add they can subtract.

>>> four = CohortNoise(
...     noise_multiplier=15.0, clip_norm=1.0, dimension=28, fractional_bits=20, min_survivors=4, colluders=1)
>>> round(four.part_stddev / four.sensitivity, 2)
8.66
>>> all_honest = CohortNoise(
...     noise_multiplier=15.0, clip_norm=1.0, dimension=28, fractional_bits=20, min_survivors=4, colluders=0)
>>> round(all_honest.part_stddev / all_honest.sensitivity, 2)
7.5
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fedlearn._validate import positive
from fedlearn.crypto import discrete_gaussian
from fedlearn.crypto.noise import NoiseSource
from fedlearn.errors import ConfigError
from fedlearn.privacy import discrete_sums
from fedlearn.privacy.events import SampledGaussianEvent

LEAST_PART: Final = 64.0
"""Smallest stddev of a part, in steps of the ring: below, its law differs from a Gaussian's visibly."""


@dataclass(frozen=True, kw_only=True)
class CohortNoise:
    """The mechanism of one release whose noise is shared over the cohort.

    Guarantee: the sum over the survivors, modulo any power of two, is at least as private as a
    Gaussian mechanism of this noise multiplier on a Poisson sample, but for a :attr:`log_ratio` that
    is charged to ε and a :attr:`distance` that is charged to δ. This holds for each record of an honest
    client, against whoever sees the sum and up to ``colluders`` of the survivors, as long as
    ``min_survivors`` clients are in it.

    Attributes:
      noise_multiplier: σ, stddev of the noise of the fewest honest survivors over the sensitivity.
      clip_norm: C, L2 norm that one record's contribution does not exceed, in reals.
      dimension: d, number of coordinates.
      fractional_bits: f; one step of the ring is 2^-f.
      min_survivors: fewest clients in a sum.
      colluders: how many of them may know their own part and tell; 0 where each is trusted.

    Raises:
      ConfigError: no honest survivor is left, or the noise is too small for the resolution.
    """

    noise_multiplier: float
    clip_norm: float
    dimension: int
    fractional_bits: int
    min_survivors: int
    colluders: int

    def __post_init__(self) -> None:
        positive(noise_multiplier=self.noise_multiplier, clip_norm=self.clip_norm, dimension=self.dimension)
        if not 0 <= self.colluders < self.min_survivors:
            raise ConfigError(
                f"colluders={self.colluders} must be at least 0 and below min_survivors={self.min_survivors}:"
                " the noise of the survivors that do not collude is all that protects a record"
            )
        if not LEAST_PART <= self.part_stddev <= discrete_gaussian.GREATEST_STDDEV:
            raise ConfigError(
                f"one client's part of the noise has a stddev of {self.part_stddev:.4g} steps of"
                f" 2^-{self.fractional_bits}; it must lie in [{LEAST_PART:g}, 2^40]: choose other"
                " fractional_bits or a larger ring"
            )

    @property
    def honest(self) -> int:
        """Fewest survivors whose parts nobody knows."""
        return self.min_survivors - self.colluders

    @property
    def sensitivity(self) -> float:
        """Δ = C·2^f + √d: what one record may move the rounded sum by, in L2 and steps of the ring.

        The sum moves by C; rounding it before and after moves each coordinate by another step at most.
        """
        return self.clip_norm * 2.0**self.fractional_bits + math.sqrt(self.dimension)

    @property
    def part_stddev(self) -> float:
        """Stddev σΔ / √(min_survivors − colluders) of each client's own noise, in steps of the ring."""
        return self.noise_multiplier * self.sensitivity / math.sqrt(self.honest)

    @property
    def log_ratio(self) -> float:
        """Bound on how far one release's odds are from those of a Gaussian mechanism, rounded to integers."""
        return discrete_sums.log_ratio(
            part_stddev=self.part_stddev, parts=self.honest, dimension=self.dimension
        )

    @property
    def distance(self) -> float:
        """Statistical distance of the sampler from its law, over all parts and coordinates, and 2⁻¹⁰⁰."""
        return discrete_sums.distance(parts=self.honest, dimension=self.dimension)

    def event(self, *, sample_rate: float = 1.0) -> SampledGaussianEvent:
        """Returns what one release spends of each record that enters it with ``sample_rate``."""
        return SampledGaussianEvent(
            noise_multiplier=self.noise_multiplier,
            sample_rate=sample_rate,
            steps=1,
            log_ratio=self.log_ratio,
            distance=self.distance,
        )

    def part(self, total: NDArray[np.floating], noise: NoiseSource) -> NDArray[np.int64]:
        """Returns one client's rounded sum with its part of the noise: integers, to be taken modulo 2^b.

        Args:
          total: sum of the client's clipped contributions, shape (d,), finite, in reals.
          noise: one vector is drawn, also if no record contributed.

        Raises:
          ConfigError: the sum has another shape or a value that is not finite.
        """
        if total.shape != (self.dimension,) or not np.isfinite(total).all():
            raise ConfigError(f"sum of shape {total.shape} must be ({self.dimension},) and finite")
        steps = np.rint(np.ldexp(total.astype(np.float64), self.fractional_bits)).astype(np.int64)
        return steps + noise.discrete_gaussian(self.dimension, stddev=self.part_stddev)


def finest_resolution(
    *,
    largest_sum: float,
    noise_multiplier: float,
    clip_norm: float,
    parts: int,
    honest: int,
    modulus_bits: int,
) -> int:
    """Returns the most fractional bits f for which a noisy sum keeps to the ring but for odds of 10⁻⁹.

    A sum that wraps costs accuracy and no privacy. All arguments are public.

    Args:
      largest_sum: magnitude that no coordinate of the sum is expected to exceed, in reals.
      noise_multiplier: σ.
      clip_norm: C.
      parts: most clients that add noise.
      honest: fewest honest survivors, for which a part is sized.
      modulus_bits: b of the ring.
    """
    positive(largest_sum=largest_sum, noise_multiplier=noise_multiplier, clip_norm=clip_norm)
    spread = noise_multiplier * clip_norm * math.sqrt(parts / honest)
    return math.floor(modulus_bits - 1 - math.log2(largest_sum + 6.5 * spread))
