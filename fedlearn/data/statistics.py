"""Federated standardisation: constants of all clients' records from sums alone.

Each client sends count, sum and sum of squares; only their totals are needed, so the
sums can travel masked, clipped and noised like any other vector. Values are bounded first,
and should be brought to a public unit before (``Standardisation.apply``), so that one bound fits
all features and squares do not cancel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlearn import _validate
from fedlearn.data.standardise import Standardisation
from fedlearn.errors import DataError


@dataclass(frozen=True, kw_only=True, eq=False)
class Sums:
    """Count, sum and sum of squares of some records, feature by feature.

    Attributes:
      count: number of records; real, because it may carry noise.
      total: Σ x, shape (d,), float64.
      squares: Σ x², shape (d,), float64.
    """

    count: float
    total: NDArray[np.float64]
    squares: NDArray[np.float64]

    @classmethod
    def of(cls, inputs: NDArray[Any], *, bound: float) -> Sums:
        """Returns the sums of records (n, d), each value first cut to [−bound, bound].

        Raises:
          ConfigError: the bound is not positive.
          DataError: the records are not rows of features.
        """
        _validate.positive(bound=bound)
        if inputs.ndim != 2:
            raise DataError(f"records of shape {inputs.shape[1:]} are not rows of features")
        cut = np.clip(inputs.astype(np.float64), -bound, bound)
        return cls(count=float(len(cut)), total=cut.sum(axis=0), squares=np.square(cut).sum(axis=0))

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            count=self.count + other.count,
            total=self.total + other.total,
            squares=self.squares + other.squares,
        )

    def to_vector(self) -> NDArray[np.float64]:
        """Returns (count, total, squares) as one vector of length 2d + 1; the vector of a sum is the sum."""
        return np.concatenate([[self.count], self.total, self.squares])

    @classmethod
    def from_vector(cls, vector: NDArray[np.float64]) -> Sums:
        """Returns the sums that ``to_vector`` flattened; raises DataError for an even length."""
        if vector.ndim != 1 or vector.size % 2 == 0:
            raise DataError(f"sums have shape {vector.shape}, not (2d + 1,)")
        d = vector.size // 2
        return cls(count=float(vector[0]), total=vector[1 : d + 1], squares=vector[d + 1 :])

    def standardisation(self, *, min_spread: float = 1e-3) -> Standardisation:
        """Returns mean and standard deviation of the summed records.

        A variance that noise has made small or negative counts as ``min_spread``².

        Raises:
          DataError: the count is below one: there were no records, or noise drowned them.

        >>> both = Sums.of(np.array([[1.0], [2.0]]), bound=9.0) + Sums.of(np.array([[6.0]]), bound=9.0)
        >>> both.standardisation().center.tolist()
        [3.0]
        """
        if not self.count >= 1:
            raise DataError(f"count={self.count} of records must be at least 1; with less noise it may be")
        center = self.total / self.count
        variance = self.squares / self.count - np.square(center)
        spread = np.sqrt(np.maximum(variance, min_spread**2))
        return Standardisation(center=center, spread=spread)


def largest_contribution(*, features: int, bound: float) -> float:
    """Returns the L2 norm that one record's (count, total, squares) cannot exceed.

    √(1 + d·b² + d·b⁴): the add/remove sensitivity of the sums, for the unit "record".

    >>> largest_contribution(features=2, bound=1.0) ** 2
    5.000000000000001
    """
    _validate.positive(features=features, bound=bound)
    return math.sqrt(1.0 + features * bound**2 + features * bound**4)


def compose(*, outer: Standardisation, inner: Standardisation) -> Standardisation:
    """Returns the constants that do ``inner`` first and ``outer`` after it, in one step."""
    return Standardisation(
        center=inner.center + inner.spread * outer.center, spread=inner.spread * outer.spread
    )
