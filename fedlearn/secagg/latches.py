"""What a client gives once: a memory that is written before the answer leaves.

A client that signed one set of survivors must never sign another, also after a restart or when
two processes hold copies of its state. Whoever closes a latch first may answer; nobody else.

>>> latches = MemoryLatches()
>>> latches.close("unmask|1")
>>> latches.close("unmask|1")
Traceback (most recent call last):
    ...
fedlearn.errors.AlreadyAnswered: 'unmask|1' was answered before; it is answered once
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Protocol

from fedlearn.errors import AlreadyAnswered


class Latches(Protocol):
    """Names that are closed once and stay closed."""

    def close(self, name: str) -> None:
        """Closes a latch; when this returns, it outlives whatever the caller does next.

        Raises:
          AlreadyAnswered: it was closed before.
        """
        ...

    def is_closed(self, name: str) -> bool:
        """Returns whether a latch was closed."""
        ...


class MemoryLatches:
    """Latches of one process: for simulations, and for sites whose secrets die with the process."""

    def __init__(self) -> None:
        self._closed: set[str] = set()

    def close(self, name: str) -> None:
        """Closes a latch; raises AlreadyAnswered if it was closed before."""
        if name in self._closed:
            raise _answered(name)
        self._closed.add(name)

    def is_closed(self, name: str) -> bool:
        """Returns whether a latch was closed."""
        return name in self._closed


class SqliteLatches:
    """Latches in a file: one for all processes and restarts of a site.

    Each is committed with ``synchronous=FULL``, hence on the disk before :meth:`close` returns.

    Args:
      path: the database; created if missing.
    """

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute("CREATE TABLE IF NOT EXISTS latch (name TEXT PRIMARY KEY) WITHOUT ROWID")

    def close(self, name: str) -> None:
        """Closes a latch durably; raises AlreadyAnswered if any process closed it before."""
        try:
            self._database.execute("INSERT INTO latch VALUES (?)", (name,))
        except sqlite3.IntegrityError:
            raise _answered(name) from None

    def is_closed(self, name: str) -> bool:
        """Returns whether any process closed the latch."""
        return self._database.execute("SELECT 1 FROM latch WHERE name = ?", (name,)).fetchone() is not None

    def disconnect(self) -> None:
        """Closes the database; the latches stay."""
        self._database.close()


def _answered(name: str) -> AlreadyAnswered:
    return AlreadyAnswered(f"{name!r} was answered before; it is answered once")
