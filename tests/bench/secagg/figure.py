"""One figure of the benchmark, and how times are taken: in turns, by medians."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fedlearn.crypto.prg import CHUNK_BYTES, Keystream

REPEATS = 7


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured figure.

    Attributes:
      name: what is measured.
      ours: our value, a median.
      spread: the least and the greatest of our repeats; None if there was one.
      reference: the value it is held against, measured in the same run; None if there is none.
      unit: of all of these.
      ratio: how much better ours is than the reference, or which part of it; None without a reference.
      bar: what is asked of ours or of the ratio.
      holds: whether it is met; None if nothing is asked, or it could not be measured.
    """

    name: str
    ours: float
    spread: tuple[float, float] | None = None
    reference: float | None = None
    unit: str
    ratio: float | None = None
    bar: str = "none"
    holds: bool | None = None


@dataclass(frozen=True)
class Times:
    """Seconds of one task, over all repeats."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def spread(self, scale: float = 1.0) -> tuple[float, float]:
        """The least and the greatest, times ``scale``."""
        return scale * min(self.seconds), scale * max(self.seconds)

    def rates(self, amount: float) -> Times:
        """``amount`` per second, of every repeat."""
        return Times(tuple(amount / second for second in self.seconds))


def in_turns(
    *tasks: Callable[[], object], repeats: int = REPEATS, clock: Callable[[], float] = time.thread_time
) -> list[Times]:
    """The tasks take turns, so that all meet the same machine."""
    taken: list[list[float]] = [[] for _ in tasks]
    for _ in range(repeats):
        for times, task in zip(taken, tasks, strict=True):
            started = clock()
            task()
            times.append(clock() - started)
    return [Times(tuple(times)) for times in taken]


def median_ratio(above: Times, below: Times) -> float:
    """The median of the ratios within each turn."""
    pairs: Sequence[tuple[float, float]] = list(zip(above.seconds, below.seconds, strict=True))
    return statistics.median(one / other for one, other in pairs)


def keystream(size: int) -> Callable[[], None]:
    """Expands at least ``size`` bytes of AES-128-CTR into one chunk, over and over: the machine's limit."""
    stream, chunk = Keystream.from_os(), np.empty(CHUNK_BYTES, np.uint8)

    def expand() -> None:
        for _ in range(chunks_of(size)):
            stream.fill(chunk)

    return expand


def chunks_of(size: int) -> int:
    """Chunks that hold ``size`` bytes."""
    return -(-size // CHUNK_BYTES)
