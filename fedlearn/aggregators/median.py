"""The coordinate-wise median (Yin et al. 2018, Definition 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedlearn._types import Vector
from fedlearn.aggregators.accumulator import HeldUpdates


class MedianAccumulator(HeldUpdates):
    """Holds a cohort's updates until their median is asked for."""

    def result(self) -> Vector:
        """Returns the median of each coordinate; raises TooFewClients if no update was taken."""
        updates = self.at_least(1, aggregator="median")
        return np.median(np.stack(updates), axis=0, overwrite_input=True).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Median:
    """The median of each coordinate; fewer than half of the clients cannot move it far.

    Not linear: needs each client's update in clear and holds them all. Weights are not used.
    """

    linear: ClassVar[bool] = False

    def start(self) -> MedianAccumulator:
        """Returns an empty accumulator."""
        return MedianAccumulator()
