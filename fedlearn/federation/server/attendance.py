"""Waiting for sites, with a count that can be seen and an end."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from fedlearn.errors import RunInterrupted, SitesMissing
from fedlearn.federation.server import queue

LOOK_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Attendance:
    """Knows who is connected, and waits until enough are.

    Attributes:
      connected: returns the sites that are connected now.
      directory: the run's, where the count is told.
      seconds: how long to wait.
      clock: seconds since anything.
      sleep: pauses.
    """

    connected: Callable[[], Collection[str]]
    directory: Path
    seconds: float
    clock: Callable[[], float] = field(default=time.monotonic)
    sleep: Callable[[float], None] = field(default=time.sleep)

    def wait(self, wanted: Collection[str], *, least: int) -> tuple[str, ...]:
        """Returns the wanted sites that are connected: all, or at least ``least`` once the time is over.

        Raises:
          SitesMissing: fewer are there when the time is over; names the missing.
          RunInterrupted: the operator asked to stop.
        """
        end = self.clock() + self.seconds
        while True:
            present = tuple(sorted(set(wanted) & set(self.connected())))
            missing = tuple(sorted(set(wanted) - set(present)))
            over = self.clock() >= end
            if not missing or (over and len(present) >= least):
                self._tell("running", least, present, missing)
                return present
            self._tell("waiting", least, present, missing)
            if over:
                raise SitesMissing(
                    f"{len(present)} of at least {least} sites were connected after {self.seconds:g} s;"
                    f" missing: {', '.join(missing)}; see `fedlearn site status` there"
                )
            if (self.directory / queue.STOP).exists():
                raise RunInterrupted("stopped while waiting for sites")
            self.sleep(LOOK_SECONDS)

    def _tell(
        self, state: queue.State, needed: int, present: tuple[str, ...], missing: tuple[str, ...]
    ) -> None:
        before = queue.read(self.directory)
        now = (state, needed, len(present), missing)
        if (before.state, before.needed, before.present, before.missing) != now:
            queue.update(self.directory, state=state, needed=needed, present=len(present), missing=missing)
