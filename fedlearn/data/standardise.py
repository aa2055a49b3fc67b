"""Centre and spread of features: public constants, or a client's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedlearn.errors import ConfigError, DataError

Standardise = Literal["public", "federated", "local", "none"]
"""Where the constants come from: published with the data set, the records of all clients together (after
the published ones, see :mod:`fedlearn.data.statistics`), a client's own records, or nowhere."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Standardisation:
    """x ↦ (x − center) / spread, feature by feature.

    Attributes:
      center: the shape of a record, or () for one number for all features; float64, in their unit.
      spread: as ``center``; greater than zero.

    Raises:
      DataError: the shapes differ, a value is not finite, or a spread is not positive.

    >>> age = Standardisation.from_range([20.0], [80.0])
    >>> age.apply(np.array([[50.0], [80.0]], np.float32)).tolist()
    [[0.0], [2.0]]
    """

    center: NDArray[np.float64]
    spread: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.center.shape != self.spread.shape:
            raise DataError(f"center has shape {self.center.shape} and spread {self.spread.shape}")
        if not (np.isfinite(self.center).all() and np.isfinite(self.spread).all()):
            raise DataError(f"center={self.center} and spread={self.spread} must be finite")
        if not (self.spread > 0).all():
            raise DataError(f"spread={self.spread} must be positive: use 1 for a constant feature")

    @classmethod
    def from_range(cls, low: ArrayLike, high: ArrayLike) -> Standardisation:
        """Returns the constants of features that lie in [low, high].

        The spread is a quarter of the range, the rule of thumb for a standard deviation, so
        that a value in range has magnitude at most 2.
        """
        lows, highs = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
        return cls(center=(lows + highs) / 2.0, spread=(highs - lows) / 4.0)

    def beside_indicators(self, count: int) -> Standardisation:
        """Returns these constants followed by ``count`` features that are left as they are."""
        return Standardisation(
            center=np.concatenate([self.center, np.zeros(count)]),
            spread=np.concatenate([self.spread, np.ones(count)]),
        )

    @classmethod
    def fit(cls, inputs: NDArray[Any]) -> Standardisation:
        """Returns mean and standard deviation of the records (n, …); a constant feature has spread 1.

        The constants are a function of private records: keep them where the records are.

        Raises:
          DataError: there are no records, or one has a value that is not finite.
        """
        if len(inputs) == 0:
            raise DataError("0 records have no mean: a client needs at least 1")
        deviation = inputs.std(axis=0, dtype=np.float64)
        # Rounding in the mean leaves a constant feature with a tiny deviation instead of none.
        constant = deviation <= 1e-7 * (1.0 + np.abs(inputs).max(axis=0))
        return cls(center=inputs.mean(axis=0, dtype=np.float64), spread=np.where(constant, 1.0, deviation))

    def apply(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        """Returns the standardised records (n, …), float32.

        Raises:
          DataError: a record has another shape than the constants.
        """
        if self.center.shape not in ((), inputs.shape[1:]):
            raise DataError(f"records of shape {inputs.shape[1:]} do not fit constants {self.center.shape}")
        return ((inputs - self.center) / self.spread).astype(np.float32)


def constants(
    mode: Standardise, *, inputs: NDArray[Any], public: Standardisation | None
) -> Standardisation | None:
    """Returns what a client standardises all its records with, or None to leave them as they are.

    Args:
      mode: ``public``, ``federated``, ``local`` or ``none``; ``federated`` begins with the public ones.
      inputs: the client's training records (n, …); read by ``local`` only. Tokens stay as they are.
      public: of the data set; None if its records come in a public unit already, as pixels in [0, 1].

    Raises:
      ConfigError: an unknown mode.
      DataError: ``local`` without records.
    """
    if mode not in get_args(Standardise):
        raise ConfigError(
            f"standardise={mode!r} must be one of {', '.join(map(repr, get_args(Standardise)))}"
        )
    if mode == "none" or inputs.dtype.kind == "i":
        return None
    return Standardisation.fit(inputs) if mode == "local" else public
