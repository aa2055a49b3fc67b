"""What a run tells while it goes on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from fedlearn.runs.result import Metrics


@dataclass(frozen=True, kw_only=True)
class RoundReport:
    """One round, as it ended: a line of ``rounds.jsonl``.

    Attributes:
      round: round, counted from 1.
      rounds: number of rounds of the experiment.
      metrics: metrics of the global model on the common test set; empty if not evaluated.
      survivors: number of clients in the aggregate.
      dropped: client → coarse reason.
      failure: why the round failed; None if it did not.
      epsilon: overall ε so far; None without DP.
      declared: what this ε leaves out by declaration; empty if nothing.
      clip_norm: of the next round under client-level DP; None without.
      trips: how often requests were sent and answers awaited; with secure aggregation three in a
        round that was prepared in the one before, else five.
      bytes_up: bytes received from clients.
      bytes_down: bytes sent to clients.
      traffic: clients by the bytes that each was sent and sent (:func:`fedlearn.runs.traffic.grouped`).
      seconds: wall-clock time of the round.
      simulated_seconds: time of the round on the simulated clock; None where there is none.
    """

    round: int
    rounds: int
    metrics: Metrics
    survivors: int
    dropped: dict[str, str] = field(default_factory=dict)
    failure: str | None = None
    epsilon: float | None = None
    declared: str = ""
    clip_norm: float | None = None
    trips: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    traffic: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    simulated_seconds: float | None = None


class Progress(Protocol):
    """Watches a run."""

    def begin(self, label: str, rounds: int) -> None:
        """A federation or a baseline begins."""

    def client_done(self, round: int, done: int, cohort: int) -> None:
        """A client's update arrived; ``round`` counts from 0."""

    def round_done(self, report: RoundReport) -> None:
        """A round ended."""

    def end(self) -> None:
        """The federation or baseline ended."""


class Silent:
    """Tells nothing."""

    def begin(self, label: str, rounds: int) -> None:
        """Ignores the beginning."""

    def client_done(self, round: int, done: int, cohort: int) -> None:
        """Ignores the client."""

    def round_done(self, report: RoundReport) -> None:
        """Ignores the round."""

    def end(self) -> None:
        """Ignores the end."""


class Labelled:
    """Passes everything on under another label: a run inside a run.

    Args:
      progress: who is told.
      label: what the run is called.
    """

    def __init__(self, progress: Progress, label: str) -> None:
        self._label = label
        self._progress = progress
        self.client_done = progress.client_done
        self.round_done = progress.round_done
        self.end = progress.end

    def begin(self, label: str, rounds: int) -> None:
        """Begins under the other label."""
        self._progress.begin(self._label, rounds)
