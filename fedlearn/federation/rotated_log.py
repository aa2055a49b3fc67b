"""The log of a program that knows nothing of log files: what it writes, in files of limited size."""

from __future__ import annotations

import logging
import os
import threading
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO

MAX_BYTES = 8 * 2**20
KEPT = 4
LONGEST_LINE = 2**16


class RotatedLog:
    """A pipe whose other end is written to ``path``, then ``path.1`` to ``path.4``, the oldest dropped.

    Args:
      path: appended to; its folder must exist.
      max_bytes: of one file.
      kept: number of older files.
    """

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES, kept: int = KEPT) -> None:
        self._file = RotatingFileHandler(path, maxBytes=max_bytes, backupCount=kept, encoding="utf-8")
        reading, writing = os.pipe()
        self._reading: IO[bytes] = os.fdopen(reading, "rb")
        self.output: IO[bytes] = os.fdopen(writing, "wb", buffering=0)
        """For the program; close it here once the program has it."""
        self._pump = threading.Thread(target=self._run, daemon=True)
        self._pump.start()

    def join(self) -> None:
        """Returns once the program, and whoever it gave its output to, has closed it."""
        self._pump.join()

    def _run(self) -> None:
        with self._reading:
            while line := self._reading.readline(LONGEST_LINE):
                text = line.decode("utf-8", errors="replace").rstrip("\n")
                self._file.emit(logging.makeLogRecord({"msg": text}))
        self._file.close()
