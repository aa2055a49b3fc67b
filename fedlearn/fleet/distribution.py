"""A fleet drawn from distributions: lognormal speeds, and clients that go on- and offline."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fedlearn.errors import ConfigError
from fedlearn.fleet.pace import ALWAYS, Pace, Window

_PACE, _PRESENCE = 20, 21
_BLOCK = 64
"""Changes between on and off that are drawn at once."""


@dataclass(frozen=True, kw_only=True)
class DrawnFleet:
    """Each client drawn for itself, from the seed and its id.

    Speeds are lognormal: the logarithm of a client's speed over the median is normal with the spread as
    standard deviation. Presence is a Markov process of two states in its steady state: times
    online and offline are exponential.

    Attributes:
      seed: of all draws.
      median: the pace of the median client.
      speed_spread: σ of the logarithm of ``records_per_second``; 0: all alike.
      bandwidth_spread: σ of the logarithm of both bandwidths, drawn together: a slow line is slow both ways.
      online_seconds: mean time online; None: always online.
      offline_seconds: mean time offline; None: always online.
    """

    seed: int
    median: Pace
    speed_spread: float = 0.0
    bandwidth_spread: float = 0.0
    online_seconds: float | None = None
    offline_seconds: float | None = None

    def __post_init__(self) -> None:
        if (self.online_seconds is None) != (self.offline_seconds is None):
            raise ConfigError("fleet.online_seconds and fleet.offline_seconds belong together: give both")

    def pace(self, client: str) -> Pace:
        """Returns the client's own draw."""
        rng = np.random.default_rng([self.seed, _PACE, *client.encode()])
        speed, line = np.exp(rng.standard_normal(2) * (self.speed_spread, self.bandwidth_spread))
        return Pace(
            records_per_second=self.median.records_per_second * float(speed),
            upload_bytes_per_second=self.median.upload_bytes_per_second * float(line),
            download_bytes_per_second=self.median.download_bytes_per_second * float(line),
        )

    def online(self, client: str, since: float) -> Iterator[Window]:
        """Yields windows without end, or the one that is for ever."""
        if self.online_seconds is None or self.offline_seconds is None:
            yield ALWAYS
            return
        on, off = self.online_seconds, self.offline_seconds
        rng = np.random.default_rng([self.seed, _PRESENCE, *client.encode()])
        # An exponential time has no memory: what is left of the state at time 0 is a whole one.
        now = 0.0 if rng.random() < on / (on + off) else -math.inf
        if now < 0:
            now = float(rng.exponential(off))
        while True:
            lengths = rng.exponential((on, off), size=(_BLOCK, 2))
            changes = now + np.cumsum(lengths)
            starts, ends = np.concatenate([[now], changes[1:-1:2]]), changes[0::2]
            for index in range(int(np.searchsorted(ends, since, side="right")), _BLOCK):
                yield float(starts[index]), float(ends[index])
            now = float(changes[-1])
