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
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from fedlearn.errors import AlreadyAnswered, LedgerUnavailable


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

    def forget(self, names: Iterable[str]) -> None:
        """Is told that what these latches guard is erased; lets go of them if no copy can exist."""
        ...


class MemoryLatches:
    """Latches of one process, for simulations: they die with it, as the secrets that they guard do.

    A model's latch is kept for good, some hundred bytes per model that the client trained from.
    """

    def __init__(self) -> None:
        self._closed: set[str] = set()

    def close(self, name: str) -> None:
        """Closes a latch; raises AlreadyAnswered if it was closed before."""
        if name in self._closed:
            raise _answered(name)
        # Clients of one process close the same names for the same models: one string serves all.
        self._closed.add(sys.intern(name))

    def is_closed(self, name: str) -> bool:
        """Returns whether a latch was closed."""
        return name in self._closed

    def forget(self, names: Iterable[str]) -> None:
        """Lets go of the latches: the secrets were in this process only."""
        self._closed.difference_update(names)


class SqliteLatches:
    """Latches in a file: one for all processes and restarts of a site.

    Each is committed with ``synchronous=FULL``, hence on the disk before :meth:`close` returns. They
    may be used from any thread, and are never forgotten: a copy of the site's memory may exist.

    Args:
      path: the database; created if missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute("CREATE TABLE IF NOT EXISTS latch (name TEXT PRIMARY KEY) WITHOUT ROWID")

    def close(self, name: str) -> None:
        """Closes a latch durably.

        Raises:
          AlreadyAnswered: any process closed it before.
          LedgerUnavailable: it cannot be written, so nothing may be answered.
        """
        try:
            with self._lock:
                self._database.execute("INSERT INTO latch VALUES (?)", (name,))
        except sqlite3.IntegrityError:
            raise _answered(name) from None
        except sqlite3.OperationalError as error:
            raise LedgerUnavailable(
                f"the latches in {self._path} cannot be written: {error}; free space, or end who holds it"
            ) from None

    def is_closed(self, name: str) -> bool:
        """Returns whether any process closed the latch."""
        with self._lock:
            found = self._database.execute("SELECT 1 FROM latch WHERE name = ?", (name,)).fetchone()
        return found is not None

    def forget(self, names: Iterable[str]) -> None:
        """Keeps them."""

    def disconnect(self) -> None:
        """Closes the database; the latches stay."""
        self._database.close()


def _answered(name: str) -> AlreadyAnswered:
    return AlreadyAnswered(f"{name!r} was answered before; it is answered once")
