"""Clipping of a client's whole update, and a clipping norm that follows a quantile of the norms."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedlearn._types import Vector
from fedlearn._validate import between, positive

# A float32 vector made of a float64 one is longer than it by at most 2⁻²⁴ of its length.
_SLACK = 1.0 - 2.0**-22


def l2_norm(update: NDArray[np.floating]) -> float:
    """Returns the L2 norm in float64, without overflow; NaN or infinite if an entry is."""
    largest = float(np.abs(update).max(initial=0.0))
    if largest == 0.0 or not math.isfinite(largest):
        return largest
    scaled = update / np.float64(largest)
    return largest * math.sqrt(float(scaled @ scaled))


def clipped(update: NDArray[np.floating], *, clip_norm: float) -> Vector:
    """Returns the update scaled down to an L2 norm of at most ``clip_norm``, shape (d,), float32.

    Guarantee: the norm of what is returned, computed in float64, never exceeds ``clip_norm``, whatever
    the update holds.

    ====================  ==============================
    NaN or infinite       zero, all of the update
    shorter than C        as it is, but for 2⁻²² near C
    empty                 empty
    ====================  ==============================

    Args:
      update: shape (d,), float32 or float64.
      clip_norm: C > 0.

    >>> clipped(np.array([3.0, 4.0]), clip_norm=1.0).round(3).tolist()
    [0.6000000238418579, 0.800000011920929]
    """
    positive(clip_norm=clip_norm)
    norm = l2_norm(update)
    if not math.isfinite(norm):
        return np.zeros(update.shape, np.float32)
    limit = clip_norm * _SLACK
    factor = 1.0 if norm <= limit else limit / norm
    return (update * np.float64(factor)).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class QuantileTracker:
    """Moves the clipping norm towards a quantile of the clients' norms (Andrew et al. 2021, section 2).

    Each client sends b = +1 if its update was not longer than C and −1 if it was; the sum of bits is
    released under noise of its own. With b̄ the share of +1 that the sum tells, C is multiplied by
    exp(−η (b̄ − γ)): down while more than γ of the updates fit, up while fewer do.

    Attributes:
      quantile: γ in (0, 1).
      learning_rate: η > 0.
      bit_stddev: stddev of the noise on the sum of bits of ±1; greater than 0.

    >>> tracker = QuantileTracker(quantile=0.5, learning_rate=0.2, bit_stddev=5.0)
    >>> tracker.next_norm(2.0, unclipped=1.0) < 2.0 < tracker.next_norm(2.0, unclipped=0.0)
    True
    """

    quantile: float
    learning_rate: float
    bit_stddev: float

    def __post_init__(self) -> None:
        between(0.0, 1.0, quantile=self.quantile)
        positive(learning_rate=self.learning_rate, bit_stddev=self.bit_stddev)

    def bit(self, update: NDArray[np.floating], *, clip_norm: float) -> int:
        """Returns +1 if the update is not longer than the clipping norm, −1 if it is or is not finite."""
        return 1 if l2_norm(update) <= clip_norm else -1

    def next_norm(self, clip_norm: float, *, unclipped: float) -> float:
        """Returns the next clipping norm.

        Args:
          clip_norm: C of this round.
          unclipped: noisy share of clients whose update was not longer; held to [0, 1].
        """
        share = min(1.0, max(0.0, unclipped))
        return clip_norm * math.exp(-self.learning_rate * (share - self.quantile))
