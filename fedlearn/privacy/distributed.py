"""The distributed discrete Gaussian: clients add the noise, and a ring of 16 bits carries the sum.

Clip to C, rotate, scale, round so that the whole vector's norm is bounded, add a discrete Gaussian, sum
modulo 2^b under secure aggregation, rotate back (Kairouz, Liu and Steinke 2021, Algorithms 1 and 2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fedlearn.crypto.noise import NoiseSource
from fedlearn.errors import ConfigError, RingTooSmall
from fedlearn.privacy.events import DiscreteGaussianSumEvent
from fedlearn.privacy.guarantee import Noise
from fedlearn.privacy.mechanisms import ClippedSum, ReleasedUpdate
from fedlearn.privacy.rotation import Rotation, padded
from fedlearn.privacy.rounding import round_conditionally, rounded_norm

ROOM: Final = 6.0
"""Standard deviations of a coordinate of the sum that half of the ring holds."""

MOST_LOSS: Final = 1.25
"""Greatest Δ / s: how much longer than the clipped update its rounded integers may be."""


@dataclass(frozen=True, kw_only=True)
class DistributedGaussian:
    """Every client adds its part of the noise; the server sees the sum alone and is not trusted.

    Guarantee: the integers of one client have L2 norm at most Δ, by construction and whatever its update
    is. The sum over ``min_survivors`` clients of which ``colluders`` know their own part hides a client
    under discrete Gaussians of stddev σΔ together. What follows — the ring, the rotation back, the
    division — is computed from that sum.

    Attributes:
      sums: the bound on one client and the public numbers.
      modulus_bits: b; sums are taken modulo 2^b.
      clients: most clients in a sum; sizes the ring, not the noise.
      min_survivors: fewest clients in a sum.
      colluders: how many of them may tell the server their part of the noise.

    Raises:
      ConfigError: no honest survivor is left.
      RingTooSmall: rounding to the ring would cost more than a quarter of the accuracy.
    """

    sums: ClippedSum
    modulus_bits: int
    clients: int
    min_survivors: int
    colluders: int
    added_by: Noise = "distributed"

    def __post_init__(self) -> None:
        if not 0 <= self.colluders < self.min_survivors <= self.clients:
            raise ConfigError(
                f"colluders={self.colluders} must be below min_survivors={self.min_survivors}, and that at"
                f" most clients={self.clients}: the noise of survivors that do not collude is all that"
                " protects"
            )
        if self.greatest_norm > MOST_LOSS * self.scale:
            raise RingTooSmall(
                f"modulus_bits={self.modulus_bits} leaves {self.scale:.4g} steps for a clipped update of"
                f" {self.size} coordinates, whose rounding alone may reach {self.greatest_norm:.4g}; at least"
                f" {1 / MOST_LOSS:.0%} must be signal: raise secure_aggregation.modulus_bits to 32"
            )

    @property
    def honest(self) -> int:
        """Fewest survivors whose parts nobody else knows."""
        return self.min_survivors - self.colluders

    @property
    def size(self) -> int:
        """Length of the rotated update."""
        return padded(self.sums.dimension)

    @property
    def length(self) -> int:
        """Length of the vector that a client sends: rotated update, then the bit."""
        return self.size + self.sums.bits

    @cached_property
    def scale(self) -> float:
        """s, steps of the ring in C: the most with ``ROOM`` standard deviations of the sum in half of it."""
        low, high = 0.0, 2.0 ** (self.modulus_bits - 1)
        for _ in range(80):
            middle = (low + high) / 2
            fits = ROOM * self._stddev(middle) <= 2.0 ** (self.modulus_bits - 1)
            low, high = (middle, high) if fits else (low, middle)
        return low

    @property
    def greatest_norm(self) -> float:
        """Δ, L2 norm that a client's integers may have."""
        return rounded_norm(self.scale, self.size)

    @property
    def part_stddev(self) -> float:
        """Stddev of one client's noise in steps: σΔ / √(min_survivors − colluders)."""
        return self.sums.update_multiplier * self.greatest_norm / math.sqrt(self.honest)

    @property
    def bit_scale(self) -> int:
        """Steps of the ring in one bit: the most with room for all bits and their noise."""
        if self.sums.tracker is None:
            return 0
        noise = ROOM * self.sums.tracker.bit_stddev * math.sqrt(self.clients / self.honest)
        return max(1, int((2.0 ** (self.modulus_bits - 1) - 1) / (self.clients + noise)))

    @property
    def bit_part_stddev(self) -> float:
        """Stddev of one client's noise on its bit, in steps; infinite without a bit."""
        if self.sums.tracker is None:
            return math.inf
        return self.sums.tracker.bit_stddev * self.bit_scale / math.sqrt(self.honest)

    @property
    def expected_wraps(self) -> float:
        """Coordinates of a sum that are expected to wrap around the ring, if all clients point one way."""
        room = 2.0 ** (self.modulus_bits - 1)
        return self.size * math.erfc(room / (self._stddev(self.scale) * math.sqrt(2)))

    @property
    def summary(self) -> str:
        """What a person should know of ring and noise, in one line."""
        return (
            f"ring 2^{self.modulus_bits}, {self.scale:.4g} steps to the clipping norm, rounding adds"
            f" {self.greatest_norm / self.scale - 1:.2%} to it; each client's noise has"
            f" {self.part_stddev:.4g} steps, made for {self.honest} honest survivors; at most"
            f" {self.expected_wraps:.2g} of {self.size} coordinates are expected to wrap in a round"
        )

    def event(self) -> DiscreteGaussianSumEvent:
        """Returns one sum of discrete Gaussians; no sampling is claimed of a client in the cohort."""
        return DiscreteGaussianSumEvent(
            noise_multiplier=self.sums.noise_multiplier,
            dimension=self.length,
            part_stddev=min(self.part_stddev, self.bit_part_stddev),
            parts=self.honest,
        )

    def protect(
        self,
        update: NDArray[np.floating],
        *,
        weight: float,
        clip_norm: float,
        label: tuple[str, int],
        noise: NoiseSource,
    ) -> NDArray[np.int64]:
        """Returns integers with their part of the noise, shape (length,), to be taken modulo 2^b."""
        bounded, bits = self.sums.contribution(update, weight=weight, clip_norm=clip_norm)
        turned = Rotation(*label, dimension=self.sums.dimension).apply(bounded) * self.scale
        integers = round_conditionally(turned, greatest_norm=self.greatest_norm, noise=noise)
        integers += noise.discrete_gaussian(self.size, stddev=self.part_stddev)
        if not len(bits):
            return integers
        bit = np.rint(bits * self.bit_scale).astype(np.int64)
        bit += noise.discrete_gaussian(1, stddev=self.bit_part_stddev)
        return np.concatenate([integers, bit])

    def release(
        self, total: NDArray[np.floating], *, clip_norm: float, label: tuple[str, int], noise: NoiseSource
    ) -> ReleasedUpdate:
        """Returns the sum, rotated back, over the expected weight; it has its noise already."""
        del noise
        turned, bits = np.split(total, [self.size])
        update = Rotation(*label, dimension=self.sums.dimension).undo(turned) / self.scale
        return self.sums.finished(update, bits / max(1, self.bit_scale), clip_norm=clip_norm)

    def _stddev(self, scale: float) -> float:
        """Returns the stddev of a coordinate of the sum, in steps, over the random rotation.

        Of all clients' updates, should they all point one way; of their rounding; and of all their noise.
        """
        signal = (self.clients * scale) ** 2 / self.size
        part = (self.sums.update_multiplier * rounded_norm(scale, self.size)) ** 2 / self.honest
        return math.sqrt(signal + self.clients * (part + 0.25))
