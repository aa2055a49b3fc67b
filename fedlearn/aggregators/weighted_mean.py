"""The weighted mean: Σ wᵢ·uᵢ / Σ wᵢ (McMahan et al. 2017, Algorithm 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fedlearn._types import Vector
from fedlearn.aggregators.accumulator import check_addition
from fedlearn.errors import ProtocolError, TooFewClients


@dataclass(kw_only=True, eq=False)
class WeightedSum:
    """A running weighted sum in float64; partial sums of several workers merge into one.

    Memory is O(model), whatever the cohort.

    Attributes:
      total: Σ wᵢ·uᵢ, shape (d,), float64; None before the first update.
      weight: Σ wᵢ.
      count: number of updates taken.
    """

    total: NDArray[np.float64] | None = None
    weight: float = 0.0
    count: int = 0

    def add(self, update: Vector, *, weight: float = 1.0) -> None:
        """Takes one client's update; raises ProtocolError if it is not acceptable."""
        check_addition(update, weight=weight, size=None if self.total is None else self.total.size)
        if self.total is None:
            self.total = np.zeros(update.shape, dtype=np.float64)
        self.total += update if weight == 1.0 else np.multiply(update, weight, dtype=np.float64)
        self.weight += weight
        self.count += 1

    def merge(self, other: WeightedSum) -> None:
        """Takes the updates that another worker summed; ``other`` is left as it is.

        Raises:
          ProtocolError: the two sums have different lengths.
        """
        if other.total is None:
            return
        if self.total is None:
            self.total = np.zeros_like(other.total)
        if self.total.shape != other.total.shape:
            raise ProtocolError(f"partial sums have shapes {self.total.shape} and {other.total.shape}")
        self.total += other.total
        self.weight += other.weight
        self.count += other.count

    def result(self) -> Vector:
        """Returns the mean (d,) float32; raises TooFewClients if no update was taken."""
        if self.total is None:
            raise TooFewClients("weighted-mean: 0 updates arrived, 1 is needed")
        return (self.total / self.weight).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class WeightedMean:
    """Linear in the updates, so it also works on a sum that secure aggregation reveals.

    >>> import numpy as np
    >>> mean = WeightedMean().start()
    >>> mean.add(np.array([1.0], np.float32), weight=1.0)
    >>> mean.add(np.array([4.0], np.float32), weight=2.0)
    >>> mean.result().tolist()
    [3.0]
    """

    linear: ClassVar[bool] = True

    def start(self) -> WeightedSum:
        """Returns an empty sum."""
        return WeightedSum()
