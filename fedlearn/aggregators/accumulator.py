"""The form of every aggregator, and the checks on what clients send."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np

from fedlearn._types import Vector
from fedlearn.errors import ProtocolError, TooFewClients


class Accumulator(Protocol):
    """Takes the updates of one cohort as they arrive."""

    @property
    def count(self) -> int:
        """Number of updates taken."""

    def add(self, update: Vector, *, weight: float = 1.0) -> None:
        """Takes one client's update (d,) float32; keeps no reference that outlives ``result``.

        Raises:
          ProtocolError: an entry is not finite, the shape differs from the first, or weight ≤ 0.
        """

    def result(self) -> Vector:
        """Returns the aggregate (d,) float32.

        Raises:
          TooFewClients: fewer updates than the aggregator needs.
        """


class Aggregator(Protocol):
    """A frozen value that starts an accumulator for each round."""

    linear: ClassVar[bool]
    """Whether the aggregate is linear in the updates for given weights."""

    def start(self) -> Accumulator:
        """Returns an empty accumulator."""


def check_addition(update: Vector, *, weight: float, size: int | None) -> float:
    """Returns the update's largest magnitude.

    Raises:
      ProtocolError: it is not finite, not of length ``size``, or its weight is not positive.
    """
    if update.ndim != 1 or (size is not None and update.size != size):
        raise ProtocolError(f"update has shape {update.shape}, the cohort's first had ({size},)")
    if not (math.isfinite(weight) and weight > 0):
        raise ProtocolError(f"weight={weight} of an update must be positive and finite")
    largest = max(float(update.max(initial=0)), -float(update.min(initial=0)))
    # A NaN is its own largest and smallest, and is not finite either.
    if not math.isfinite(largest):
        infinite = update.size - int(np.isfinite(update).sum())
        raise ProtocolError(
            f"update has {infinite} of {update.size} entries that are not finite:"
            " the client diverged; lower its learning rate"
        )
    return largest


@dataclass(kw_only=True, eq=False)
class HeldUpdates:
    """The updates of a cohort in clear: memory is O(cohort × model).

    Weights are checked and then not used: a robust aggregate must not trust a number
    that a client says about itself.
    """

    updates: list[Vector] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Number of updates taken."""
        return len(self.updates)

    def add(self, update: Vector, *, weight: float = 1.0) -> None:
        """Holds a copy of one client's update; raises ProtocolError if it is not acceptable."""
        check_addition(update, weight=weight, size=self.updates[0].size if self.updates else None)
        self.updates.append(update.astype(np.float32, copy=True))

    def at_least(self, needed: int, *, aggregator: str) -> list[Vector]:
        """Returns the updates; raises TooFewClients if there are fewer than ``needed``."""
        if self.count < needed:
            raise TooFewClients(
                f"{aggregator}: {self.count} updates arrived, {needed} are needed;"
                " enlarge the cohort or tolerate fewer bad clients"
            )
        return self.updates
