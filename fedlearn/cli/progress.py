"""What a run shows while it goes on: one live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from fedlearn.privacy.guarantee import format_epsilon
from fedlearn.runs.progress import RoundReport

PLAIN_SECONDS = 2.0
"""Least time between two plain lines of one run; the first and the last round are always told."""


class LiveProgress:
    """One line per run: round k/K, clients done, metric, ε so far, time left."""

    def __init__(self) -> None:
        self._bars = Bars(
            TextColumn("{task.description:<16}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
        )
        self._task: TaskID | None = None

    def begin(self, label: str, rounds: int) -> None:
        """Starts a line."""
        self._bars.start()
        self._task = self._bars.add_task(label, total=rounds, note="")

    def client_done(self, round: int, done: int, cohort: int) -> None:
        """Shows how many of the cohort have answered."""
        if self._task is not None and self._bars.tasks[self._task].fields["note"] == "":
            self._bars.update(self._task, note=f"{done}/{cohort} clients")

    def round_done(self, report: RoundReport) -> None:
        """Advances the line."""
        if self._task is not None:
            self._bars.update(self._task, advance=1, note=note_of(report))

    def end(self) -> None:
        """Leaves the line as it is."""
        self._bars.stop()


class PlainProgress:
    """A line of text now and then, for logs."""

    def __init__(self) -> None:
        self._label = ""
        self._told = float("-inf")

    def begin(self, label: str, rounds: int) -> None:
        """Remembers whose rounds follow."""
        self._label, self._told = label, float("-inf")

    def client_done(self, round: int, done: int, cohort: int) -> None:
        """Says nothing: a log has no use for it."""

    def round_done(self, report: RoundReport) -> None:
        """Tells the first round, the last, failures, and otherwise one every few seconds."""
        now = time.monotonic()
        last = report.round == report.rounds
        if last or report.failure or now - self._told >= PLAIN_SECONDS:
            self._told = now
            sys.stderr.write(f"{self._label:<16} {report.round:>4}/{report.rounds}  {note_of(report)}\n")
            sys.stderr.flush()

    def end(self) -> None:
        """Says nothing."""


def note_of(report: RoundReport) -> str:
    """Returns a round in a few words: first metric, ε so far, dropouts, failure."""
    words = [f"{name} {value:.3f}" for name, value in list(report.metrics.items())[:1] if value is not None]
    if report.epsilon is not None:
        words.append(
            f"ε {format_epsilon(report.epsilon)}" + (f" ({report.declared})" if report.declared else "")
        )
    if report.dropped:
        words.append(f"{len(report.dropped)} dropped")
    if report.failure:
        words.append(f"round failed: {report.failure}")
    return " · ".join(words)
