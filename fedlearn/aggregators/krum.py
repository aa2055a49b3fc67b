"""Krum and Multi-Krum (Blanchard et al. 2017, section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fedlearn._types import Vector
from fedlearn.aggregators.accumulator import HeldUpdates
from fedlearn.errors import ConfigError


def scores(updates: NDArray[np.float32], *, byzantine: int) -> NDArray[np.float64]:
    """Returns, for each of n updates, the sum of squared distances to its n − f − 2 nearest others.

    Args:
      updates: shape (n, d), float32, n ≥ f + 3.
      byzantine: f, number of bad clients to be tolerated.
    """
    # One row of differences at a time: the expanded form ‖a‖² + ‖b‖² − 2ab cancels near convergence.
    distances = np.array([np.square(updates - row).sum(axis=1, dtype=np.float64) for row in updates])
    nearest = np.sort(distances, axis=1)[:, 1 : len(updates) - byzantine - 1]
    total: NDArray[np.float64] = nearest.sum(axis=1)
    return total


@dataclass(kw_only=True, eq=False)
class KrumAccumulator(HeldUpdates):
    """Holds a cohort's updates until the most central ones are asked for."""

    byzantine: int
    keep: int

    def result(self) -> Vector:
        """Returns the mean of the kept updates; raises TooFewClients below 2f + 3 or ``keep`` updates."""
        needed = max(2 * self.byzantine + 3, self.keep)
        updates = np.stack(self.at_least(needed, aggregator="krum"))
        score = scores(updates, byzantine=self.byzantine)
        # Equal scores are decided by the updates themselves, so that arrival order does not matter.
        best = sorted(range(len(updates)), key=lambda i: (score[i], updates[i].tobytes()))[: self.keep]
        mean: Vector = updates[best].mean(axis=0, dtype=np.float64).astype(np.float32)
        return mean


@dataclass(frozen=True, kw_only=True)
class Krum:
    """The update, or the mean of the few, whose nearest others are nearest.

    Not linear: needs each client's update in clear and holds them all. Weights are not used.

    Args:
      byzantine: f ≥ 0, number of bad clients to be tolerated; a round needs 2f + 3 updates.
      keep: m ≥ 1, number of updates to average; 1 is Krum, more is Multi-Krum.

    Raises:
      ConfigError: an argument out of range.
    """

    linear: ClassVar[bool] = False
    byzantine: int = 1
    keep: int = 1

    def __post_init__(self) -> None:
        if self.byzantine < 0 or self.keep < 1:
            raise ConfigError(
                f"byzantine={self.byzantine} must be at least 0 and keep={self.keep} at least 1"
            )

    def start(self) -> KrumAccumulator:
        """Returns an empty accumulator."""
        return KrumAccumulator(byzantine=self.byzantine, keep=self.keep)
