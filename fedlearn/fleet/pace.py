"""One client's pace, and what it gets done in the time that it is online."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from fedlearn.errors import ConfigError

Window: TypeAlias = tuple[float, float]
"""Start and end of a time online, in simulated seconds; the end is infinite for who stays."""

ALWAYS: Window = (0.0, math.inf)


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast a client works and talks.

    Attributes:
      records_per_second: records trained per second, forward and backward; > 0, may be infinite.
      upload_bytes_per_second: > 0, may be infinite.
      download_bytes_per_second: > 0, may be infinite.
    """

    records_per_second: float = math.inf
    upload_bytes_per_second: float = math.inf
    download_bytes_per_second: float = math.inf

    def __post_init__(self) -> None:
        for name, speed in vars(self).items():
            if not speed > 0:
                raise ConfigError(f"{name}={speed} must be above 0")

    def seconds(self, *, records: float, down: int, up: int) -> float:
        """Returns the time to receive ``down`` bytes, train on so many records and send ``up`` bytes.

        >>> Pace(records_per_second=10, upload_bytes_per_second=100).seconds(records=50, down=9, up=300)
        8.0
        """
        return (
            down / self.download_bytes_per_second
            + records / self.records_per_second
            + up / self.upload_bytes_per_second
        )


class Fleet(Protocol):
    """The clients of a simulation as machines."""

    def pace(self, client: str) -> Pace:
        """Returns how fast a client is; the same at every time."""
        ...

    def online(self, client: str, since: float) -> Iterator[Window]:
        """Yields the windows in which a client is online and that end after ``since``, in order.

        They are disjoint, and there may be infinitely many. What a client has begun it goes on with in its
        next window.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """When a client begins and ends a piece of work, in simulated seconds; infinite: never."""

    begun: float
    done: float


def worked(windows: Iterable[Window], *, at: float, seconds: float) -> Stretch:
    """Returns when work that is given at some time begins and ends, if it rests outside the windows.

    >>> worked([(0.0, 10.0), (30.0, 50.0)], at=8.0, seconds=5.0)
    Stretch(begun=8.0, done=33.0)
    """
    begun = math.inf
    for opens, closes in windows:
        start = max(opens, at)
        begun = min(begun, start)
        if start + seconds <= closes:
            return Stretch(begun=begun, done=start + seconds)
        seconds -= closes - start
    return Stretch(begun=begun, done=math.inf)
