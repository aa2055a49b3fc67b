"""The SQLite file behind a ledger: rows that only grow, and the bytes that may be sent again.

Whatever goes wrong with the file — locked, full, replaced, not readable — is one error by name, and
leaves it as it was before the transaction.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedlearn.errors import LedgerUnavailable, TamperedLedger
from fedlearn.privacy.chain import Head, Row

_BUSY_SECONDS = 30.0
_TABLES = """
BEGIN;
CREATE TABLE IF NOT EXISTS rows (
  length INTEGER PRIMARY KEY, body BLOB NOT NULL, digest BLOB NOT NULL UNIQUE, signature BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS payloads (
  release TEXT PRIMARY KEY, run TEXT NOT NULL, request TEXT NOT NULL, payload BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS witnessed (
  owner TEXT PRIMARY KEY, length INTEGER NOT NULL, receipt BLOB NOT NULL);
CREATE TRIGGER IF NOT EXISTS rows_stay BEFORE DELETE ON rows
  BEGIN SELECT RAISE(ABORT, 'ledger rows are never deleted'); END;
CREATE TRIGGER IF NOT EXISTS rows_keep BEFORE UPDATE ON rows
  BEGIN SELECT RAISE(ABORT, 'ledger rows are never changed'); END;
COMMIT;
"""
_ROWS = (
    "SELECT CAST(body AS BLOB), CAST(digest AS BLOB), CAST(signature AS BLOB) FROM rows"
    " WHERE length > ? ORDER BY length"
)


class Store:
    """An open ledger file; one caller at a time, any number of processes.

    Args:
      path: the file; made with access for its owner alone if it does not exist.

    Raises:
      LedgerUnavailable: it cannot be opened or is no ledger.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with available(path):
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self.connection = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._file = _identity(path)
            # EXTRA is FULL and also syncs the folder after a commit, so that no power cut undoes one.
            self.connection.execute("PRAGMA synchronous = EXTRA")
            self.connection.executescript(_TABLES)

    def close(self) -> None:
        """Closes the file."""
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Holds the write lock from before the balance is read until the row is on disk.

        Raises:
          LedgerUnavailable: the file is locked, full or not readable.
          TamperedLedger: another file has taken its place.
        """
        with available(self._path):
            if _identity(self._path) != self._file:
                raise TamperedLedger(
                    f"ledger {self._path} was replaced while it was in use: what is written would be lost;"
                    " restart with the newest copy in place"
                )
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                # A full disk has rolled back already.
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    def rows(self, *, after: int = 0) -> Iterator[Row]:
        """Yields the rows beyond the first ``after``, oldest first."""
        return rows_of(self.connection, after=after)

    def digest_of(self, length: int) -> bytes | None:
        """Returns the digest of the row at this length; None if there is none."""
        found = self.connection.execute("SELECT digest FROM rows WHERE length = ?", (length,)).fetchone()
        return None if found is None else bytes(found[0])

    def append(self, head: Head, row: Row) -> None:
        """Adds a row, which makes ``head`` the newest."""
        self.connection.execute(
            "INSERT INTO rows VALUES (?, ?, ?, ?)", (head.length, row.body, row.digest, row.signature)
        )

    def keep(self, release: str, *, run: str, request: str, payload: bytes) -> None:
        """Keeps the bytes of a release, to be sent again."""
        self.connection.execute("INSERT INTO payloads VALUES (?, ?, ?, ?)", (release, run, request, payload))

    def kept(self, *, release: str = "", run: str = "", request: str = "") -> bytes | None:
        """Returns the bytes of a release, or of the run's release that answered a request.

        Raises:
          LedgerUnavailable: the file is locked or not readable.
        """
        with available(self._path):
            found = self.connection.execute(
                "SELECT payload FROM payloads"
                " WHERE release = ? OR (run = ? AND request = ? AND request <> '')",
                (release, run, request),
            ).fetchone()
        return None if found is None else bytes(found[0])

    def forget(self, *, release: str = "", run: str = "") -> None:
        """Drops the bytes of a release, or of all releases of a run."""
        self.connection.execute("DELETE FROM payloads WHERE release = ? OR run = ?", (release, run))

    def witness(self, owner: str, *, length: int, receipt: bytes) -> None:
        """Keeps another party's receipt, unless one of a longer ledger is kept already."""
        self.connection.execute(
            "INSERT INTO witnessed VALUES (?, ?, ?) ON CONFLICT (owner) DO UPDATE"
            " SET length = excluded.length, receipt = excluded.receipt WHERE excluded.length >= length",
            (owner, length, receipt),
        )


def read_witnessed(path: Path) -> dict[str, bytes]:
    """Returns the receipts of others that a ledger keeps; raises LedgerUnavailable if it is none."""
    with reading(path) as connection:
        found = connection.execute("SELECT owner, receipt FROM witnessed ORDER BY owner")
        return {owner: bytes(receipt) for owner, receipt in found}


def rows_of(connection: sqlite3.Connection, *, after: int = 0) -> Iterator[Row]:
    """Yields the rows beyond the first ``after``, oldest first."""
    for body, digest, signature in connection.execute(_ROWS, (after,)):
        yield Row(body=body, digest=digest, signature=signature)


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Opens a ledger without changing or locking it.

    Raises:
      LedgerUnavailable: the file is missing or is no ledger.
    """
    if not path.is_file():
        raise LedgerUnavailable(f"{path} is no ledger: there is no such file")
    with available(path):
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            yield connection
        finally:
            connection.close()


@contextmanager
def available(path: Path) -> Iterator[None]:
    """Turns what the file system and SQLite say into LedgerUnavailable."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise LedgerUnavailable(
            f"ledger {path} cannot be used ({error}); nothing is trained until it can"
        ) from error


def _identity(path: Path) -> tuple[int, int]:
    """Returns what tells a file from another one at the same path."""
    found = path.stat()
    return found.st_dev, found.st_ino
