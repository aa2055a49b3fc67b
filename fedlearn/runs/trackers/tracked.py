"""A run that is watched by trackers too."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

from fedlearn.runs.progress import Progress, RoundReport


class Tracker(Protocol):
    """Keeps scalars over rounds."""

    def log(self, scalars: Mapping[str, float], *, round: int) -> None:
        """Keeps finite numbers of a round, counted from 1."""

    def close(self) -> None:
        """Lets go of what it has opened; everything logged is kept."""


def public_scalars(report: RoundReport) -> dict[str, float]:
    """Returns what of a round is public: of the global model and of the cohort as a whole.

    An allow list: what another part adds to a round is not logged before it is named here. The names of
    metrics come from the experiment, which all parties know.
    """
    found: dict[str, float | None] = {f"metric/{name}": value for name, value in report.metrics.items()}
    found |= {
        "privacy/epsilon": report.epsilon,
        "cohort/survivors": report.survivors,
        "cohort/failed": float(report.failure is not None),
        "network/bytes_up": report.bytes_up,
        "network/bytes_down": report.bytes_down,
        "time/seconds": report.seconds,
    }
    return {name: float(value) for name, value in found.items() if value is not None and math.isfinite(value)}


class Tracked:
    """Passes everything on, and the public scalars of the run itself to trackers; baselines are not logged.

    Args:
      progress: who is told besides.
      trackers: who keeps the scalars; closed when the run ends.
    """

    def __init__(self, progress: Progress, trackers: Sequence[Tracker]) -> None:
        self._progress = progress
        self._trackers = list(trackers)
        self.begin = progress.begin
        self.client_done = progress.client_done

    def round_done(self, report: RoundReport) -> None:
        """Logs the round and passes it on."""
        scalars = public_scalars(report)
        for tracker in self._trackers:
            tracker.log(scalars, round=report.round)
        self._progress.round_done(report)

    def end(self) -> None:
        """Closes the trackers after the run, before its baselines, and passes the end on."""
        while self._trackers:
            self._trackers.pop().close()
        self._progress.end()
