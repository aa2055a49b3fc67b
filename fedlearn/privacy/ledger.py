"""What a site's records have spent over all runs, and the gate before every further release.

One SQLite file per site, written by the site alone. A release is *reserved* before training, at its
full cost; *committed* with the digest of its bytes before the first of them leaves; or *burned*
if it never will. Everything but a refund counts as spent, so that a crash at any instruction leaves
the ledger at or above what was released, never below.

    reserved ─┬─▶ committed     the bytes may leave, again and again, the same ones
              ├─▶ burned        spent, and never to leave (a crash in training)
              └─▶ refunded      not spent: only while nothing can have left
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

from fedlearn._validate import between, positive
from fedlearn.errors import BudgetExhausted, ConfigError, PrivacyError
from fedlearn.privacy.accounting import Account
from fedlearn.privacy.chain import Head, Row, check_chain, next_row
from fedlearn.privacy.events import SampledGaussianEvent, event_from_dict
from fedlearn.privacy.guarantee import Unit, format_epsilon

State: TypeAlias = Literal["reserved", "committed", "burned", "refunded"]

SCHEMA = 1
_BUSY_SECONDS = 30.0
_TABLES = """
CREATE TABLE IF NOT EXISTS rows (
  length INTEGER PRIMARY KEY, body BLOB NOT NULL, digest BLOB NOT NULL UNIQUE, signature BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS payloads (release TEXT PRIMARY KEY, payload BLOB NOT NULL);
CREATE TRIGGER IF NOT EXISTS rows_stay BEFORE DELETE ON rows
  BEGIN SELECT RAISE(ABORT, 'ledger rows are never deleted'); END;
CREATE TRIGGER IF NOT EXISTS rows_keep BEFORE UPDATE ON rows
  BEGIN SELECT RAISE(ABORT, 'ledger rows are never changed'); END;
"""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The most that the records of one data set may spend, over all runs.

    Attributes:
      epsilon: limit on ε; > 0.
      delta: δ at which ε is taken; below one over the number of records.
    """

    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        positive(epsilon=self.epsilon)
        between(0.0, 1.0, delta=self.delta)


@dataclass(frozen=True, kw_only=True)
class Release:
    """One release about to be made: what it is called and what it costs.

    Attributes:
      id: unique name of the release; what is trained again is another release.
      run: run it belongs to.
      round: round, counted from 0.
      dataset: the site's own name of the data; never a fingerprint of their content.
      unit: what the event protects.
      clip_norm: C, bound of one unit's contribution.
      event: the mechanism about to be executed.
    """

    id: str
    run: str
    round: int
    dataset: str
    unit: Unit = "record"
    clip_norm: float
    event: SampledGaussianEvent

    def to_dict(self) -> dict[str, Any]:
        """Returns the release as JSON-able values."""
        return {
            "release": self.id,
            "run": self.run,
            "round": self.round,
            "dataset": self.dataset,
            "unit": self.unit,
            "clip_norm": self.clip_norm,
            "event": self.event.to_dict(),
        }


class Ledger:
    """The ledger of one site; one instance per thread, any number of processes.

    Args:
      path: the SQLite file; made with access for its owner alone if it does not exist.
      owner: the site, written into the first row.
      sign: signs the 32-byte digest of a row with the site's key.
      budgets: data set → its budget; a data set without one releases nothing.
      known: newest head that was noted elsewhere (round receipts, another disk), if any.

    Raises:
      TamperedMessage: a row was changed, removed or reordered.
      PrivacyError: the ledger is older than ``known``, belongs to another site, or cannot be read;
        the site trains nothing until this is mended.
    """

    def __init__(
        self,
        path: Path,
        *,
        owner: str,
        sign: Callable[[bytes], bytes],
        budgets: Mapping[str, Budget],
        known: Head | None = None,
    ) -> None:
        self._path = path
        self._sign = sign
        self._budgets = dict(budgets)
        with _readable(path):
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._connection = _connect(path)
            with self._transaction():
                self._begin(owner)
                check_chain(_rows(self._connection), known=known)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    @property
    def head(self) -> Head:
        """The newest head; note it elsewhere, so that an old copy is recognised."""
        length, digest = self._connection.execute(
            "SELECT length, digest FROM rows ORDER BY length DESC LIMIT 1"
        ).fetchone()
        return Head(length=length, digest=digest)

    def reserve(self, release: Release) -> None:
        """Books a release at its full cost, before anything is trained.

        Raises:
          BudgetExhausted: it would exceed the budget; says what is spent and what would fit.
          PrivacyError: the id is taken, or the ledger cannot be written.
          ConfigError: the data set has no budget.
        """
        budget = self._budget(release.dataset)
        with self._transaction():
            if self.state(release.id) is not None:
                raise PrivacyError(
                    f"release {release.id!r} exists: send its bytes again, or train under a new id"
                )
            account = self.account(release.dataset, unit=release.unit)
            _refuse_beyond(budget, account, release)
            self._append({**release.to_dict(), "state": "reserved"})

    def commit(self, release: str, payload: bytes) -> None:
        """Binds a reserved release to its bytes, which may leave once this returns.

        The bytes are kept until :meth:`acknowledge`. Repeating it with the same bytes does nothing.

        Raises:
          PrivacyError: the release is not reserved, or was committed with other bytes.
        """
        digest = hashlib.sha256(payload).hexdigest()
        with self._transaction():
            if self.state(release) == "committed":
                if self._last(release)["payload"] != digest:
                    raise PrivacyError(
                        f"release {release!r} was committed with other bytes; what is trained again is a"
                        " new release and a new charge"
                    )
                return
            self._change(release, "committed", payload=digest)
            self._connection.execute("INSERT INTO payloads VALUES (?, ?)", (release, payload))

    def burn(self, release: str) -> None:
        """Marks a reserved release as spent and never to leave; raises PrivacyError if it is not reserved."""
        with self._transaction():
            self._change(release, "burned")

    def refund(self, release: str) -> None:
        """Takes a reservation back; raises PrivacyError once the release is committed or burned.

        For a release of which nothing has left and nothing ever will: the caller forgets what it
        trained.
        """
        with self._transaction():
            self._change(release, "refunded")

    def acknowledge(self, release: str) -> None:
        """Forgets the bytes of a committed release once their receiver has them."""
        with self._transaction():
            self._connection.execute("DELETE FROM payloads WHERE release = ?", (release,))

    def state(self, release: str) -> State | None:
        """Returns the release's state; None if it is not known."""
        last = self._find(release)
        return None if last is None else last["state"]

    def payload(self, release: str) -> bytes | None:
        """Returns the bytes of a committed release for sending them again; None if there are none."""
        found = self._connection.execute(
            "SELECT payload FROM payloads WHERE release = ?", (release,)
        ).fetchone()
        return None if found is None else bytes(found[0])

    def account(self, dataset: str, *, unit: Unit = "record") -> Account:
        """Returns everything that the data set's units have spent: reserved, committed and burned."""
        return spent(read_rows(self._connection), dataset, unit=unit)

    def epsilon(self, dataset: str, *, unit: Unit = "record") -> float:
        """Returns the ε spent so far, at the δ of the data set's budget."""
        return self.account(dataset, unit=unit).epsilon(delta=self._budget(dataset).delta)

    def reserved(self) -> list[str]:
        """Returns the releases that are reserved and neither committed, burned nor refunded.

        After a restart these were cut off in training: burn them.
        """
        states = {row["release"]: row["state"] for row in read_rows(self._connection)}
        return [release for release, state in states.items() if state == "reserved"]

    def _budget(self, dataset: str) -> Budget:
        if dataset not in self._budgets:
            known = ", ".join(map(repr, sorted(self._budgets))) or "none"
            raise ConfigError(f"data set {dataset!r} has no budget, so it releases nothing; known: {known}")
        return self._budgets[dataset]

    def _begin(self, owner: str) -> None:
        first = self._connection.execute("SELECT body FROM rows WHERE length = 1").fetchone()
        if first is None:
            # The nonce keeps an emptied ledger from passing for the old one.
            self._append({"schema": SCHEMA, "owner": owner, "nonce": os.urandom(16).hex(), "state": "opened"})
            return
        values = Row(body=first[0], digest=b"", signature=b"").values
        if values.get("schema") != SCHEMA or values.get("owner") != owner:
            raise PrivacyError(
                f"ledger {self._path} has schema {values.get('schema')} and belongs to"
                f" {values.get('owner')!r}; expected schema {SCHEMA} of {owner!r}"
            )

    def _append(self, values: dict[str, Any]) -> None:
        last = self._connection.execute(
            "SELECT length, digest FROM rows ORDER BY length DESC LIMIT 1"
        ).fetchone()
        length, digest = last or (0, None)
        row = next_row(values, after=digest, sign=self._sign)
        self._connection.execute(
            "INSERT INTO rows VALUES (?, ?, ?, ?)", (length + 1, row.body, row.digest, row.signature)
        )

    def _change(self, release: str, state: State, **more: str) -> None:
        last = self._last(release)
        if last["state"] != "reserved":
            raise PrivacyError(f"release {release!r} is {last['state']}; only a reserved one can be {state}")
        self._append({**last, "state": state, **more})

    def _last(self, release: str) -> dict[str, Any]:
        last = self._find(release)
        if last is None:
            raise PrivacyError(f"release {release!r} was never reserved")
        return last

    def _find(self, release: str) -> dict[str, Any] | None:
        rows = [row for row in read_rows(self._connection) if row["release"] == release]
        return rows[-1] if rows else None

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Holds the write lock from before the balance is read until the row is on disk."""
        with _readable(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                # A full disk has rolled back already.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


def read(path: Path) -> list[Row]:
    """Returns all rows of a ledger, without changing or locking it; the chain is not checked.

    Raises:
      PrivacyError: the file is missing or is no ledger.
    """
    if not path.is_file():
        raise PrivacyError(f"{path} is no ledger: there is no such file")
    with _readable(path):
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            return list(_rows(connection))
        finally:
            connection.close()


def read_rows(connection: sqlite3.Connection) -> Iterator[dict[str, Any]]:
    """Yields the content of every row about a release, oldest first."""
    for row in _rows(connection):
        values = row.values
        if "release" in values:
            yield values


def spent(rows: Iterator[dict[str, Any]], dataset: str, *, unit: Unit = "record") -> Account:
    """Returns the account of one data set from the contents of rows: all that is not refunded."""
    latest = {row["release"]: row for row in rows if row["dataset"] == dataset and row["unit"] == unit}
    return Account(event_from_dict(row["event"]) for row in latest.values() if row["state"] != "refunded")


def _refuse_beyond(budget: Budget, account: Account, release: Release) -> None:
    after = account.projected_epsilon(release.event, delta=budget.delta)
    if after <= budget.epsilon:
        return
    before = account.epsilon(delta=budget.delta)
    raise BudgetExhausted(
        f"data set {release.dataset!r}: release {release.id!r} would raise ε from {format_epsilon(before)} to"
        f" {format_epsilon(after)} at δ = {budget.delta:g} per {release.unit}; the budget is"
        f" {budget.epsilon:g}."
        f" Of its {release.event.steps} steps {_fitting(budget, account, release)} would fit"
    )


def _fitting(budget: Budget, account: Account, release: Release) -> int:
    """Returns how many steps of the release the budget still allows."""
    event = release.event
    low, high = 0, event.steps
    while high - low > 1:
        middle = (low + high) // 2
        part = SampledGaussianEvent(
            noise_multiplier=event.noise_multiplier, sample_rate=event.sample_rate, steps=middle
        )
        fits = account.projected_epsilon(part, delta=budget.delta) <= budget.epsilon
        low, high = (middle, high) if fits else (low, middle)
    return low


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
    # EXTRA is FULL and also syncs the folder after a commit, so that no commit is undone by a power cut.
    connection.execute("PRAGMA synchronous = EXTRA")
    connection.executescript(_TABLES)
    return connection


def _rows(connection: sqlite3.Connection) -> Iterator[Row]:
    for body, digest, signature in connection.execute(
        "SELECT CAST(body AS BLOB), CAST(digest AS BLOB), CAST(signature AS BLOB) FROM rows ORDER BY length"
    ):
        yield Row(body=body, digest=digest, signature=signature)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise PrivacyError(
            f"ledger {path} cannot be used ({error}); nothing is trained until it can"
        ) from error
