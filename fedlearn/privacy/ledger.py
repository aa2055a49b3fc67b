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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from fedlearn.errors import PrivacyError, TamperedLedger, UndeclaredDataSet
from fedlearn.privacy.account import Account
from fedlearn.privacy.budget import Budget, refuse_beyond
from fedlearn.privacy.chain import Head, check_signer, follow, gone_back, next_row
from fedlearn.privacy.guarantee import Unit
from fedlearn.privacy.release import Release, State, spent
from fedlearn.privacy.store import Store

SCHEMA = 1


class Ledger:
    """The ledger of one site; one caller at a time, any number of processes.

    Args:
      path: the SQLite file; made with access for its owner alone if it does not exist.
      owner: the site, written into the first row.
      sign: signs the 32-byte digest of a row with the site's key.
      public: the public half of that key; every row is verified when the ledger is opened. None
        leaves signatures to ``fedlearn budget verify``.
      budgets: data set → its budget; a data set without one releases nothing.
      known: newest head that was noted elsewhere (receipts, another disk), if any.

    Raises:
      TamperedLedger: a row was changed, removed, reordered or signed by another; or the ledger is older
        than ``known``, or belongs to another site. The site trains nothing until this is mended.
      LedgerUnavailable: it cannot be read or written.
    """

    def __init__(
        self,
        path: Path,
        *,
        owner: str,
        sign: Callable[[bytes], bytes],
        public: bytes | None = None,
        budgets: Mapping[str, Budget],
        known: Head | None = None,
    ) -> None:
        self._path = path
        self._sign = sign
        self._budgets = dict(budgets)
        self._head: Head | None = None
        self._latest: dict[str, dict[str, Any]] = {}
        self._store = Store(path)
        with self._transaction():
            self._begin(owner)
        if public is not None:
            check_signer(list(self._store.rows()), public)
        if known is not None:
            self.require(known)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._store.close()

    @property
    def head(self) -> Head:
        """The newest head; note it elsewhere, so that an old copy is recognised."""
        with self._transaction():
            return self._newest

    def require(self, known: Head) -> None:
        """Returns if the chain passes through a head that was noted elsewhere.

        Raises:
          TamperedLedger: it does not: an old or foreign copy was put back.
        """
        with self._transaction():
            if self._store.digest_of(known.length) != known.digest:
                raise gone_back(self._head, known)

    def reserve(self, release: Release, *, superseding: bool = False) -> None:
        """Books a release at its full cost, before anything is trained.

        Args:
          release: what is about to be made.
          superseding: forget the bytes of the run's older releases: nobody will ask for them again.

        Raises:
          BudgetExhausted: it would exceed the budget; says what is spent and what would fit.
          UndeclaredDataSet: the data set has no budget.
          PrivacyError: the id is taken.
          LedgerUnavailable, TamperedLedger: as for the class.
        """
        budget = self._budget(release.dataset)
        with self._transaction():
            if release.id in self._latest:
                raise PrivacyError(
                    f"release {release.id!r} exists: send its bytes again, or train under a new id"
                )
            refuse_beyond(budget, self._account(release.dataset, unit=budget.unit), release)
            self._append({**release.to_dict(), "state": "reserved"})
            if superseding:
                self._store.forget(run=release.run)

    def commit(self, release: str, payload: bytes) -> None:
        """Binds a reserved release to its bytes, which may leave once this returns.

        The bytes are kept until :meth:`acknowledge`. Repeating it with the same bytes does nothing.

        Raises:
          PrivacyError: the release is not reserved, or was committed with other bytes.
        """
        digest = hashlib.sha256(payload).hexdigest()
        with self._transaction():
            last = self._last(release)
            if last["state"] == "committed":
                if last["payload"] != digest:
                    raise PrivacyError(
                        f"release {release!r} was committed with other bytes; what is trained again is a"
                        " new release and a new charge"
                    )
                return
            self._change(release, "committed", payload=digest)
            self._store.keep(release, run=last["run"], request=last["request"], payload=payload)

    def burn(self, release: str) -> None:
        """Marks a reserved release as spent and never to leave; raises PrivacyError if it is not reserved."""
        with self._transaction():
            self._change(release, "burned")

    def burn_cut_off(self, run: str | None = None) -> list[str]:
        """Burns what a crash left reserved, of one run or of all, and returns the releases.

        For the time before training begins: what another process is training on would be burned, too.
        """
        cut_off = [
            release for release in self.reserved() if run is None or self._latest[release]["run"] == run
        ]
        for release in cut_off:
            self.burn(release)
        return cut_off

    def refund(self, release: str) -> None:
        """Takes a reservation back; raises PrivacyError once the release is committed or burned.

        For a release of which nothing has left and nothing ever will: the caller forgets what it
        trained.
        """
        with self._transaction():
            self._change(release, "refunded")

    def acknowledge(self, release: str = "", *, run: str = "") -> None:
        """Forgets the bytes of a committed release, or of all of a run, once their receiver has them."""
        with self._transaction():
            self._store.forget(release=release, run=run)

    def state(self, release: str) -> State | None:
        """Returns the release's state; None if it is not known."""
        with self._transaction():
            last = self._latest.get(release)
            return None if last is None else last["state"]

    def payload(self, release: str) -> bytes | None:
        """Returns the bytes of a committed release for sending them again; None if there are none."""
        return self._store.kept(release=release)

    def answer(self, *, run: str, request: str) -> bytes | None:
        """Returns the bytes that answered the very same request of the run; None if there are none."""
        return self._store.kept(run=run, request=request)

    def account(self, dataset: str, *, unit: Unit = "record", run: str | None = None) -> Account:
        """Returns what the data set's units have spent: reserved, committed and burned.

        Args:
          dataset: the site's name of the data.
          unit: what is protected; releases that protect the other unit are counted in it.
          run: of this run alone; None: over all runs.
        """
        with self._transaction():
            return self._account(dataset, unit=unit, run=run)

    def epsilon(self, dataset: str) -> float:
        """Returns the ε spent so far, at the δ and per unit of the data set's budget."""
        budget = self._budget(dataset)
        return self.account(dataset, unit=budget.unit).epsilon(delta=budget.delta)

    def reserved(self) -> list[str]:
        """Returns the releases that are reserved and neither committed, burned nor refunded."""
        with self._transaction():
            return [release for release, row in self._latest.items() if row["state"] == "reserved"]

    def witness(self, owner: str, *, length: int, receipt: bytes) -> None:
        """Keeps another party's newest receipt, by which an old copy of its ledger is recognised.

        Args:
          owner: the other party.
          length: number of rows of its ledger, by the receipt; a shorter one is not kept.
          receipt: signed.
        """
        with self._transaction():
            self._store.witness(owner, length=length, receipt=receipt)

    def budget(self, dataset: str) -> Budget:
        """Returns the data set's budget; raises UndeclaredDataSet if it has none."""
        return self._budget(dataset)

    def _budget(self, dataset: str) -> Budget:
        if dataset not in self._budgets:
            known = ", ".join(map(repr, sorted(self._budgets))) or "none"
            raise UndeclaredDataSet(
                f"data set {dataset!r} has no budget, so it releases nothing; declared: {known}."
                " Declare its ε and δ in the policy first"
            )
        return self._budgets[dataset]

    def _account(self, dataset: str, *, unit: Unit, run: str | None = None) -> Account:
        return spent(self._latest.values(), dataset, unit=unit, run=run)

    def _begin(self, owner: str) -> None:
        first = next(self._store.rows(), None)
        if first is None:
            # The nonce keeps an emptied ledger from passing for the old one.
            self._append({"schema": SCHEMA, "owner": owner, "nonce": os.urandom(16).hex(), "state": "opened"})
            return
        values = first.values
        if values.get("schema") != SCHEMA or values.get("owner") != owner:
            raise TamperedLedger(
                f"ledger {self._path} has schema {values.get('schema')} and belongs to"
                f" {values.get('owner')!r}; expected schema {SCHEMA} of {owner!r}"
            )

    @property
    def _newest(self) -> Head:
        if self._head is None:
            raise TamperedLedger(f"ledger {self._path} has lost its first row; restore the newest copy")
        return self._head

    def _append(self, values: dict[str, Any]) -> None:
        row = next_row(values, after=None if self._head is None else self._head.digest, sign=self._sign)
        head = follow(self._head, row)
        self._store.append(head, row)

    def _change(self, release: str, state: State, **more: str) -> None:
        last = self._last(release)
        if last["state"] != "reserved":
            raise PrivacyError(f"release {release!r} is {last['state']}; only a reserved one can be {state}")
        self._append({**last, "state": state, **more})

    def _last(self, release: str) -> dict[str, Any]:
        if release not in self._latest:
            raise PrivacyError(f"release {release!r} was never reserved")
        return self._latest[release]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Holds the write lock, with everything that other processes have added read and checked."""
        with self._store.transaction():
            self._catch_up()
            yield

    def _catch_up(self) -> None:
        """Reads the rows since the last look; each must follow from what was seen before."""
        head = self._head
        if head is not None and self._store.digest_of(head.length) != head.digest:
            raise gone_back(None, head)
        for row in self._store.rows(after=0 if head is None else head.length):
            head = follow(head, row)
            values = row.values
            if "release" in values:
                self._latest[values["release"]] = values
        self._head = head
