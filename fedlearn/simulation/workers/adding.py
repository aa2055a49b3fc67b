"""The running sum of one worker, and its way through shared memory to the process that wants it."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedlearn._types import RingVector
from fedlearn.aggregators.weighted_mean import WeightedSum
from fedlearn.errors import ProtocolError
from fedlearn.experiment.setup import RunSetup
from fedlearn.rounds.compression import Compression
from fedlearn.secagg.ring import add_in_ring
from fedlearn.simulation.workers.frames import Sum
from fedlearn.simulation.workers.memory import shared_array
from fedlearn.stopwatch import timed

_LEAST_SCALE, _SCALES = -19, 37
"""Scales that sums of float32 can have, 2^-152 to 2^144; each has its place, and costs nothing unused."""


class Adder(Protocol):
    """Adds vectors up in a worker: those of one run, as what is asked before it has its own server."""

    run: str

    def add(self, client: str, vector: NDArray[Any], *, round: int) -> bool:
        """Adds a client's vector; returns False if the server must see the vector itself."""

    def write(self) -> Sum:
        """Moves the sum into shared memory and starts a new one; called in the worker."""

    def read(self, frame: Sum) -> Any:
        """Returns the sum that a worker wrote; called in the other process, before the next write."""


class ClearAdder:
    """Adds updates in the clear with their weights.

    Args:
      run: the run's id.
      weight_of: public weight of each client.
      dimension: length of what is added.
      compression: how updates travel; None: as they are.
    """

    def __init__(
        self,
        run: str,
        weight_of: Mapping[str, float],
        dimension: int,
        compression: Compression | None = None,
    ) -> None:
        self.run = run
        self._compression = compression
        self._weight_of = weight_of
        self._dimension = dimension
        self._sum = WeightedSum()
        self._shared = shared_array((_SCALES, dimension), np.int64)

    @timed("aggregation")
    def add(self, client: str, vector: NDArray[Any], *, round: int) -> bool:
        """Adds an update; one that the server would refuse is left to the server."""
        try:
            if self._compression is not None:
                vector = self._compression.addend(vector, round=round)
            if vector.shape != (self._dimension,) or vector.dtype != np.float32:
                return False
            self._sum.add(vector, weight=self._weight_of[client])
        except ProtocolError:
            return False
        return True

    @timed("aggregation")
    def write(self) -> Sum:
        """Moves the sum into shared memory and starts a new one."""
        done, self._sum = self._sum, WeightedSum()
        scales = done.write_integers(self._place_of)
        weight = done.exact_weight
        return Sum(done.count, (str(weight.numerator), str(weight.denominator)), scales)

    def read(self, frame: Sum) -> WeightedSum:
        """Returns the sum that a worker wrote, where it lies."""
        return WeightedSum.over(
            {scale: self._place_of(scale) for scale in frame.scales},
            size=self._dimension,
            count=frame.count,
            exact_weight=Fraction(int(frame.weight[0]), int(frame.weight[1])),
        )

    def _place_of(self, scale: int) -> NDArray[np.int64]:
        place: NDArray[np.int64] = self._shared[scale - _LEAST_SCALE]
        return place


class RingAdder:
    """Adds ring elements, as ``ideal`` mode has them.

    Args:
      run: the run's id.
      dtype: of the ring.
      dimension: d.
    """

    def __init__(self, run: str, dtype: np.dtype[np.unsignedinteger], dimension: int) -> None:
        self.run = run
        self._shared: RingVector = shared_array(dimension, dtype)
        self._total = np.zeros(dimension, dtype)
        self._count = 0

    @timed("aggregation")
    def add(self, client: str, vector: NDArray[Any], *, round: int) -> bool:
        """Adds ring elements; a vector of another ring is left to the server."""
        del client, round
        if vector.shape != self._total.shape or vector.dtype != self._total.dtype:
            return False
        add_in_ring(self._total, vector)
        self._count += 1
        return True

    @timed("aggregation")
    def write(self) -> Sum:
        """Moves the sum into shared memory and starts a new one."""
        np.copyto(self._shared, self._total)
        self._total[:] = 0
        done, self._count = self._count, 0
        return Sum(done, ("0", "1"), [])

    def read(self, frame: Sum) -> RingVector:
        """Returns the sum that a worker wrote."""
        return self._shared


def adder_for(setup: RunSetup) -> Adder | None:
    """Returns how a worker adds up; None if the server must see every vector.

    Masked vectors are signed one by one, and an aggregator that is not linear compares them.
    """
    if setup.secure is not None:
        ideal = setup.secure.mode == "ideal"
        return RingAdder(setup.run, setup.secure.encoding.dtype, setup.reply_length) if ideal else None
    if isinstance(setup.experiment.aggregator.start(), WeightedSum):
        return ClearAdder(setup.run, setup.weights, setup.added_length, setup.compression)
    return None
