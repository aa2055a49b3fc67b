"""Telling a progress what the folder of a run shows, from another process."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from fedlearn.config import ExperimentConfig
from fedlearn.errors import RunDirectoryError
from fedlearn.runs.directory import RunDirectory
from fedlearn.runs.progress import Progress, RoundReport


class Follower:
    """Tells of the rounds of a run as they end.

    Args:
      path: the run directory.
      config: the experiment.
      progress: who is told.
    """

    def __init__(self, path: Path, config: ExperimentConfig, progress: Progress) -> None:
        self._directory = RunDirectory(path)
        self._progress = progress
        self._told = len(self._rounds())
        self._label, self._count = config.name, config.rounds

    def __enter__(self) -> Self:
        self._progress.begin(self._label, self._count)
        return self

    def __exit__(self, *_: object) -> None:
        self.look()
        self._progress.end()

    def look(self) -> None:
        """Tells of the rounds that have ended since the last look."""
        for entry in self._rounds()[self._told :]:
            self._told += 1
            self._progress.round_done(RoundReport(**entry))

    def _rounds(self) -> list[dict[str, Any]]:
        try:
            return self._directory.rounds()
        except RunDirectoryError:  # before the first round there is no such file
            return []
