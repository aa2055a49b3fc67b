"""Client-level mechanisms: what a client does to its whole update, what the server does to the sum.

A mechanism is one frozen value that both sides hold. It runs, and it says what running it once spends;
so what is executed and what is charged are the same object. Everything is done in units of the clipping
norm C, which travels beside the model: clip, rounding and noise are the same numbers for every C, so that
no choice of C — the server's to make, where it follows a quantile — can weaken them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedlearn._types import Vector
from fedlearn._validate import positive
from fedlearn.crypto.noise import NoiseSource
from fedlearn.errors import MalformedMessage, PrivacyError
from fedlearn.privacy.clipping import QuantileTracker, clipped
from fedlearn.privacy.events import Event, SampledGaussianEvent
from fedlearn.privacy.guarantee import Noise


@dataclass(frozen=True, kw_only=True)
class ReleasedUpdate:
    """What a round releases.

    Attributes:
      update: noisy sum over the public denominator, shape (d,), float32.
      clip_norm: C of the next round.
    """

    update: Vector = field(repr=False)
    clip_norm: float


@dataclass(frozen=True, kw_only=True)
class ClippedSum:
    """What every client-level mechanism knows: the bound on one client and the public numbers.

    Attributes:
      noise_multiplier: σ of a round, over all that it releases; greater than 0.
      clip_norm: C, L2 bound of one client's update; where it is adaptive, that of the first round.
      dimension: d, number of parameters.
      expected_weight: what the noisy sum is divided by: expected total weight of a cohort, public.
      expected_clients: expected number of clients in a cohort, public.
      tracker: moves C towards a quantile; None keeps it.
    """

    noise_multiplier: float
    clip_norm: float
    dimension: int
    expected_weight: float
    expected_clients: float
    tracker: QuantileTracker | None = None

    def __post_init__(self) -> None:
        positive(noise_multiplier=self.noise_multiplier, clip_norm=self.clip_norm)
        positive(dimension=self.dimension)
        positive(expected_weight=self.expected_weight, expected_clients=self.expected_clients)
        if self.tracker is not None and self.tracker.bit_stddev <= self.noise_multiplier:
            raise PrivacyError(
                f"the clipping bit's noise of stddev {self.tracker.bit_stddev:g} leaves nothing for the"
                f" update at noise_multiplier={self.noise_multiplier:g}; raise privacy.clip_bit_stddev"
                " above it"
            )

    @property
    def update_multiplier(self) -> float:
        """σ of the update alone: (σ⁻² − σ_b⁻²)^−½, where the bit's noise σ_b takes its share.

        The update and the bit are one Gaussian release of a vector whose blocks have noise of their own;
        its noise multiplier is σ (Andrew et al. 2021, Theorem 1).
        """
        if self.tracker is None:
            return self.noise_multiplier
        return 1.0 / math.sqrt(self.noise_multiplier**-2 - self.tracker.bit_stddev**-2)

    @property
    def bits(self) -> int:
        """How many coordinates follow the update: 1 with an adaptive clipping norm, else 0."""
        return 0 if self.tracker is None else 1

    def request(self, params: Vector, *, clip_norm: float) -> Vector:
        """Returns what clients are sent: the parameters, and behind them C where it is adaptive."""
        return params if self.tracker is None else np.append(params, np.float32(clip_norm))

    def received(self, request: Vector) -> tuple[Vector, float]:
        """Returns the parameters and C of a request.

        Raises:
          MalformedMessage: C is not positive and finite.
        """
        if self.tracker is None:
            return request, self.clip_norm
        clip_norm = float(request[-1])
        if not (math.isfinite(clip_norm) and clip_norm > 0):
            raise MalformedMessage(f"clipping norm {clip_norm} must be positive and finite")
        return request[:-1], clip_norm

    def contribution(
        self, update: NDArray[np.floating], *, weight: float, clip_norm: float
    ) -> tuple[Vector, NDArray[np.float64]]:
        """Returns the weighted update in units of C, of norm at most ``weight`` ≤ 1, and the bits of ±1."""
        unit = clipped(update / np.float64(clip_norm), clip_norm=1.0)
        bounded: Vector = (unit * np.float64(weight)).astype(np.float32)
        if self.tracker is None:
            return bounded, np.empty(0)
        return bounded, np.array([float(self.tracker.bit(update, clip_norm=clip_norm))])

    def finished(
        self, total: NDArray[np.floating], bits: NDArray[np.floating], *, clip_norm: float
    ) -> ReleasedUpdate:
        """Returns the release of a noisy sum in units of C, and of the noisy sum of bits."""
        update = (total * (clip_norm / self.expected_weight)).astype(np.float32)
        if self.tracker is None:
            return ReleasedUpdate(update=update, clip_norm=clip_norm)
        unclipped = (float(bits[0]) / self.expected_clients + 1.0) / 2.0
        return ReleasedUpdate(update=update, clip_norm=self.tracker.next_norm(clip_norm, unclipped=unclipped))


class ClientMechanism(Protocol):
    """What a round asks of a client-level mechanism."""

    @property
    def sums(self) -> ClippedSum:
        """The bound on one client and the public numbers."""
        ...

    @property
    def added_by(self) -> Noise:
        """Who adds the noise."""
        ...

    @property
    def length(self) -> int:
        """Length of the vector that a client sends."""
        ...

    def event(self) -> Event:
        """Returns what one round spends of a client that is asked to take part in it."""
        ...

    def protect(
        self,
        update: NDArray[np.floating],
        *,
        weight: float,
        clip_norm: float,
        label: tuple[str, int],
        noise: NoiseSource,
    ) -> NDArray[np.floating] | NDArray[np.int64]:
        """Returns what a client sends: reals that the server noises, or integers with their own noise.

        Args:
          update: shape (d,), whatever it holds.
          weight: public weight in (0, 1].
          clip_norm: C of the round.
          label: run and round; public.
          noise: the client's secret randomness.
        """
        ...

    def release(
        self, total: NDArray[np.floating], *, clip_norm: float, label: tuple[str, int], noise: NoiseSource
    ) -> ReleasedUpdate:
        """Returns what the server makes of the sum of what clients sent.

        Args:
          total: shape (length,), float64.
          clip_norm: C of the round.
          label: run and round.
          noise: the server's secret randomness; not used where clients add the noise.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class CentralGaussian:
    """Clients clip, the server adds the noise: it is trusted, whoever gets the model is not.

    Guarantee: one client more or less moves the sum by at most ``sensitivity`` in units of C; what is
    released is a Gaussian mechanism of ``sums.noise_multiplier`` and functions of it.

    Attributes:
      sums: the bound on one client and the public numbers.
      resolution: step of the ring in which clients' updates are summed, in units of C; 0 in the clear.
    """

    sums: ClippedSum
    resolution: float = 0.0
    added_by: Noise = "central"

    @property
    def length(self) -> int:
        """d, and one more with an adaptive clipping norm."""
        return self.sums.dimension + self.sums.bits

    @property
    def sensitivity(self) -> float:
        """1 + √d · resolution: the update's norm in units of C, and what rounding to the ring adds."""
        return 1.0 + math.sqrt(self.sums.dimension) * self.resolution

    def event(self) -> SampledGaussianEvent:
        """Returns one Gaussian release; no sampling is claimed of a client that is in the cohort."""
        return SampledGaussianEvent(noise_multiplier=self.sums.noise_multiplier, sample_rate=1.0, steps=1)

    def protect(
        self,
        update: NDArray[np.floating],
        *,
        weight: float,
        clip_norm: float,
        label: tuple[str, int],
        noise: NoiseSource,
    ) -> Vector:
        """Returns the clipped update in units of C, then the bit; float32, no noise."""
        del label, noise
        bounded, bits = self.sums.contribution(update, weight=weight, clip_norm=clip_norm)
        return np.concatenate([bounded, bits.astype(np.float32)])

    def release(
        self, total: NDArray[np.floating], *, clip_norm: float, label: tuple[str, int], noise: NoiseSource
    ) -> ReleasedUpdate:
        """Returns (Σ + N(0, (σ·sensitivity)²)) · C / expected weight."""
        del label
        update, bits = np.split(total, [self.sums.dimension])
        noisy = noise.perturb(update, stddev=self.sums.update_multiplier * self.sensitivity)
        if self.sums.tracker is not None:
            bits = noise.perturb(bits, stddev=self.sums.tracker.bit_stddev)
        return self.sums.finished(noisy, bits, clip_norm=clip_norm)
