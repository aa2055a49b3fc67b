"""The coordinate-wise trimmed mean (Yin et al. 2018, Definition 2)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedlearn._types import Vector
from fedlearn.aggregators.accumulator import HeldUpdates
from fedlearn.errors import ConfigError


@dataclass(kw_only=True, eq=False)
class TrimmedMeanAccumulator(HeldUpdates):
    """Holds a cohort's updates until their trimmed mean is asked for."""

    fraction: float

    def result(self) -> Vector:
        """Returns the mean of what is left; raises TooFewClients if nothing would be."""
        # 0.07 · 100 is 7.000000000000001 in floating point, and means 7.
        cut = math.ceil(self.fraction * self.count - 1e-9)
        updates = np.stack(self.at_least(2 * cut + 1, aggregator="trimmed-mean"))
        updates.sort(axis=0)
        kept = updates[cut : len(updates) - cut]
        mean: Vector = kept.mean(axis=0, dtype=np.float64).astype(np.float32)
        return mean


@dataclass(frozen=True, kw_only=True)
class TrimmedMean:
    """The mean of each coordinate without its largest and smallest values.

    Not linear: needs each client's update in clear and holds them all. Weights are not used.

    Args:
      fraction: share of the clients, in [0, 0.5), cut off at each end and rounded up; at
        least the share of bad clients to be tolerated.

    Raises:
      ConfigError: the fraction is out of range.
    """

    linear: ClassVar[bool] = False
    fraction: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.fraction < 0.5:
            raise ConfigError(f"fraction={self.fraction} must lie in [0, 0.5): it is cut at both ends")

    def start(self) -> TrimmedMeanAccumulator:
        """Returns an empty accumulator."""
        return TrimmedMeanAccumulator(fraction=self.fraction)
