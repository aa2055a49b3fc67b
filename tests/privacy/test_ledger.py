"""The ledger never under-counts: not after kill −9, not between processes, not from an old copy."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from fedlearn.crypto.identity import SigningKey
from fedlearn.errors import (
    BudgetExhausted,
    LedgerUnavailable,
    PrivacyError,
    TamperedLedger,
    UndeclaredDataSet,
)
from fedlearn.privacy.budget import Budget
from fedlearn.privacy.chain import Head, change_of_key, check_chain, check_signatures, next_row
from fedlearn.privacy.events import SampledGaussianEvent
from fedlearn.privacy.handover import hand_over
from fedlearn.privacy.ledger import Ledger
from fedlearn.privacy.release import Release, read
from fedlearn.privacy.store import read_witnessed

KEY = SigningKey.from_bytes(bytes(range(32)))
ROUND = SampledGaussianEvent(noise_multiplier=1.0, sample_rate=1 / 19, steps=19)
# One round spends 1.55, two 2.00, three 2.36, four 2.68.
BUDGETS = {"heart": Budget(epsilon=2.5, delta=1e-4)}


def release(name: str, *, dataset: str = "heart", event: SampledGaussianEvent = ROUND) -> Release:
    return Release(id=name, run="r1", round=0, dataset=dataset, clip_norm=1.0, events=(event,))


def open_ledger(path: Path, **changes: object) -> Ledger:
    settings = {"owner": "hospital-3", "sign": KEY.sign, "budgets": BUDGETS, **changes}
    return Ledger(path, **settings)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with open_ledger(path) as opened:
        yield opened


def test_a_release_goes_from_reserved_to_committed_to_sent(ledger: Ledger) -> None:
    assert ledger.state("a") is None
    ledger.reserve(release("a"))
    assert ledger.state("a") == "reserved"
    assert ledger.reserved() == ["a"]
    assert ledger.epsilon("heart") == pytest.approx(1.5525, abs=0.001)
    ledger.commit("a", b"update")
    assert ledger.state("a") == "committed"
    assert ledger.payload("a") == b"update"
    ledger.acknowledge("a")
    assert ledger.payload("a") is None
    assert ledger.reserved() == []
    assert ledger.account("heart").steps == 19


def test_the_budget_spans_rounds_and_says_what_would_fit(ledger: Ledger) -> None:
    for name in ("a", "b", "c"):
        ledger.reserve(release(name))
    head = ledger.head
    with pytest.raises(
        BudgetExhausted, match=r"'heart'.*from 2\.36 to 2\.68.*budget is 2\.5.*Of its 19 steps 8 would"
    ):
        ledger.reserve(release("d"))
    assert ledger.head == head
    assert ledger.state("d") is None
    ledger.reserve(
        release("d", event=SampledGaussianEvent(noise_multiplier=1.0, sample_rate=1 / 19, steps=8))
    )
    assert ledger.epsilon("heart") <= 2.5


def test_units_and_data_sets_have_budgets_of_their_own(path: Path) -> None:
    with open_ledger(path, budgets={**BUDGETS, "lung": Budget(epsilon=1.0, delta=1e-4)}) as ledger:
        ledger.reserve(release("a"))
        assert ledger.epsilon("lung") == 0
        with pytest.raises(BudgetExhausted, match=r"'lung'.*from 0 to 1\.55"):
            ledger.reserve(release("b", dataset="lung"))
        with pytest.raises(UndeclaredDataSet, match=r"'skin' has no budget.*'heart', 'lung'"):
            ledger.reserve(release("c", dataset="skin"))


def test_a_retry_with_the_same_bytes_is_free(ledger: Ledger) -> None:
    ledger.reserve(release("a"))
    ledger.commit("a", b"update")
    head = ledger.head
    ledger.commit("a", b"update")
    assert ledger.head == head


def test_other_bytes_are_another_release(ledger: Ledger) -> None:
    ledger.reserve(release("a"))
    ledger.commit("a", b"update")
    with pytest.raises(PrivacyError, match="committed with other bytes"):
        ledger.commit("a", b"trained again")
    with pytest.raises(PrivacyError, match="'a' exists"):
        ledger.reserve(release("a"))
    assert ledger.payload("a") == b"update"


def test_burned_stays_spent_and_refunded_does_not(ledger: Ledger) -> None:
    ledger.reserve(release("a"))
    ledger.burn("a")
    ledger.reserve(release("b"))
    ledger.refund("b")
    assert (ledger.state("a"), ledger.state("b")) == ("burned", "refunded")
    assert ledger.account("heart").steps == 19


@pytest.mark.parametrize("step", [Ledger.burn, Ledger.refund, lambda ledger, name: ledger.commit(name, b"x")])
@pytest.mark.parametrize("state", ["burned", "refunded", "committed", None])
def test_only_a_reserved_release_changes(
    ledger: Ledger, step: Callable[[Ledger, str], None], state: str | None
) -> None:
    ledger.reserve(release("a"))
    if state == "committed":
        ledger.commit("a", b"update")
    elif state is not None:
        {"burned": ledger.burn, "refunded": ledger.refund}[state]("a")
    head = ledger.head
    with pytest.raises(PrivacyError):
        step(ledger, "a" if state else "never reserved")
    assert ledger.head == head


def test_reopening_finds_everything(path: Path) -> None:
    with open_ledger(path) as ledger:
        ledger.reserve(release("a"))
        ledger.commit("a", b"update")
        head = ledger.head
    with open_ledger(path, known=head) as ledger:
        assert ledger.state("a") == "committed"
        assert ledger.payload("a") == b"update"
        assert ledger.head == head
    assert path.stat().st_mode & 0o077 == 0


def test_rows_cannot_be_changed_or_deleted_through_sql(ledger: Ledger, path: Path) -> None:
    ledger.reserve(release("a"))
    other = sqlite3.connect(path)
    for statement in ("DELETE FROM rows", "UPDATE rows SET body = x'00'"):
        with pytest.raises(sqlite3.IntegrityError, match="never"):
            other.execute(statement)
    other.close()


def vandalise(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(f"DROP TRIGGER rows_stay; DROP TRIGGER rows_keep; {statement};")
    connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE rows SET body = replace(body, '\"steps\":19', '\"steps\":1') WHERE length = 2",
        "DELETE FROM rows WHERE length = 2",
        "DELETE FROM rows WHERE length = 1",
        "UPDATE rows SET length = -length; UPDATE rows SET length = CASE length"
        " WHEN -2 THEN 3 WHEN -3 THEN 2 ELSE -length END",
    ],
)
def test_tampering_is_recognised_when_the_ledger_is_opened(path: Path, statement: str) -> None:
    with open_ledger(path) as ledger:
        ledger.reserve(release("a"))
        ledger.commit("a", b"update")
    vandalise(path, statement)
    with pytest.raises(TamperedLedger, match=r"changed|belongs|lost its first"):
        open_ledger(path)


def test_a_truncated_ledger_is_recognised_by_its_head(path: Path) -> None:
    with open_ledger(path) as ledger:
        ledger.reserve(release("a"))
        head = ledger.head
    vandalise(path, "DELETE FROM rows WHERE length = 2")
    open_ledger(path).close()  # nothing inside it can tell …
    with pytest.raises(TamperedLedger, match="old or foreign copy"):
        open_ledger(path, known=head)  # … but the head kept elsewhere does


def test_a_restored_copy_is_recognised_even_after_it_went_on(path: Path) -> None:
    with open_ledger(path) as ledger:
        ledger.reserve(release("a"))
        shutil.copy(path, path.with_suffix(".old"))
        ledger.reserve(release("b"))
        head = ledger.head
    shutil.copy(path.with_suffix(".old"), path)
    with open_ledger(path) as ledger:
        ledger.reserve(release("c"))
        ledger.refund("c")
    with pytest.raises(TamperedLedger, match="old or foreign copy"):
        open_ledger(path, known=head)


def test_an_emptied_ledger_is_not_the_old_one(path: Path) -> None:
    with open_ledger(path) as ledger:
        head = ledger.head
    path.unlink()
    with pytest.raises(TamperedLedger, match="old or foreign copy"):
        open_ledger(path, known=head)


def test_another_sites_ledger_and_no_ledger_are_refused(path: Path) -> None:
    open_ledger(path).close()
    with pytest.raises(TamperedLedger, match=r"belongs to 'hospital-3'.*'hospital-4'"):
        open_ledger(path, owner="hospital-4")
    path.write_bytes(b"no database, but long enough to be looked at")
    with pytest.raises(LedgerUnavailable, match="nothing is trained"):
        open_ledger(path)
    with pytest.raises(LedgerUnavailable, match="no such file"):
        read(path.with_name("missing"))


def test_signatures_prove_who_wrote_each_row(path: Path) -> None:
    with open_ledger(path) as ledger:
        ledger.reserve(release("a"))
        head = ledger.head
    rows = read(path)
    check_chain(rows, known=head)
    check_signatures(rows, KEY.public)
    with pytest.raises(TamperedLedger, match="row 1 is not signed"):
        check_signatures(rows, SigningKey.generate().public)


def test_a_ledger_goes_on_under_a_new_key(path: Path) -> None:
    with open_ledger(path) as ledger:
        ledger.reserve(release("a"))
    keys = [KEY, SigningKey.generate(), SigningKey.generate()]
    for before, to in pairwise(keys):
        hand_over(path, before=before, to=to)
        with open_ledger(path, sign=to.sign, public=to.public) as ledger:
            ledger.reserve(release(to.public.hex()))
            assert ledger.account("heart").steps > 0
    rows = read(path)
    for key in keys:  # whoever knows any of them, knows the others
        check_signatures(rows, key.public)
    with pytest.raises(TamperedLedger, match="never the key"):
        check_signatures(rows, SigningKey.generate().public)


def test_nobody_hands_over_a_ledger_that_is_not_theirs(path: Path) -> None:
    open_ledger(path).close()
    thief = SigningKey.generate()
    with pytest.raises(TamperedLedger, match="row 1 is not signed"):
        hand_over(path, before=thief, to=thief)
    rows = read(path)
    forged = [change_of_key(after=rows[-1].digest, before=thief, to=thief)]
    stolen = [change_of_key(after=rows[-1].digest, before=KEY, to=SigningKey.generate())]
    stolen[0] = replace(stolen[0], signature=thief.sign(stolen[0].digest))
    for row in (*forged, *stolen):
        with pytest.raises(TamperedLedger, match="not signed"):
            check_signatures([*rows, row], KEY.public)


def test_a_key_that_was_replaced_signs_no_more(path: Path) -> None:
    open_ledger(path, public=KEY.public).close()
    hand_over(path, before=KEY, to=SigningKey.generate())
    for act in (
        lambda: open_ledger(path, public=KEY.public),
        lambda: hand_over(path, before=KEY, to=SigningKey.generate()),
    ):
        with pytest.raises(TamperedLedger, match=r"handed over to key .* use the new key"):
            act()
    check_signatures(read(path), KEY.public)  # nothing was written


@pytest.mark.parametrize(
    "values",
    [{}, {"before": 1}, {"before": "xy"}, {"before": KEY.public.hex()}, {"before": "", "public": ""}],
)
def test_a_change_of_key_that_says_nothing_is_no_row(path: Path, values: dict[str, object]) -> None:
    open_ledger(path).close()
    rows = read(path)
    row = next_row({"state": "handed over", **values}, after=rows[-1].digest, sign=KEY.sign)
    with pytest.raises(TamperedLedger, match="not signed"):
        check_signatures([*rows, row], KEY.public)


@pytest.mark.parametrize("text", ["", "3", "0:" + "00" * 32, "1:00", "one:" + "00" * 32])
def test_heads_are_read_strictly(text: str) -> None:
    with pytest.raises(PrivacyError, match="no ledger head"):
        Head.parse(text)
    head = Head(length=7, digest=bytes(range(32)))
    assert Head.parse(str(head)) == head


def in_child(work: Callable[[], None]) -> int:
    """Runs ``work`` in a forked child and returns its wait status."""
    if (child := os.fork()) == 0:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1]


def killed_at(statement: int) -> Callable[[str], None]:
    """Returns an SQLite trace that kills this process when the numbered statement begins."""
    begun = 0

    def trace(_: str) -> None:
        nonlocal begun
        if begun == statement:
            os.kill(os.getpid(), signal.SIGKILL)
        begun += 1

    return trace


@pytest.mark.parametrize("statement", range(20))
def test_kill_at_any_statement_never_under_counts(path: Path, statement: int) -> None:
    """The child notes what it was allowed to do; whatever it noted must be in the ledger it left behind."""
    diary = path.with_name("diary")
    open_ledger(path).close()

    def work() -> None:
        with open_ledger(path) as ledger:
            ledger._store.connection.set_trace_callback(killed_at(statement))
            ledger.reserve(release("a"))
            with diary.open("a") as notes:
                notes.write("trained\n")
            ledger.commit("a", b"update")
            with diary.open("a") as notes:
                notes.write("sent\n")
            ledger.reserve(release("b"))
            with diary.open("a") as notes:
                notes.write("trained again\n")

    status = in_child(work)
    noted = diary.read_text().splitlines() if diary.exists() else []
    with open_ledger(path) as ledger:
        account = ledger.account("heart")
        assert account.steps >= 19 * len([note for note in noted if "trained" in note])
        if "sent" in noted:
            assert ledger.payload("a") == b"update"
        for cut_off in ledger.reserved():
            ledger.burn(cut_off)
        assert ledger.account("heart").steps == account.steps
        check_signatures(read(path), KEY.public)
    if statement == 0:
        assert os.WIFSIGNALED(status)


def test_the_kills_cover_all_statements(path: Path) -> None:
    statements: list[str] = []
    with open_ledger(path) as ledger:
        ledger._store.connection.set_trace_callback(statements.append)
        ledger.reserve(release("a"))
        ledger.commit("a", b"update")
        ledger.reserve(release("b"))
    assert 10 <= len(statements) <= 20


def test_processes_together_cannot_overspend(path: Path) -> None:
    open_ledger(path).close()
    children = []
    for worker in range(4):
        if (child := os.fork()) == 0:
            reserved = 0
            try:
                with open_ledger(path) as ledger:
                    for attempt in range(3):
                        try:
                            ledger.reserve(release(f"{worker}-{attempt}"))
                        except BudgetExhausted:
                            continue
                        reserved += 1
            finally:
                os._exit(reserved)
        children.append(child)
    granted = sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)
    with open_ledger(path) as ledger:
        assert granted == 3
        assert ledger.account("heart").steps == 3 * 19
        assert ledger.epsilon("heart") <= 2.5


def test_a_locked_ledger_stops_training(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_ledger(path) as ledger:
        ledger._store.connection.execute("PRAGMA busy_timeout = 1")
        blocker = sqlite3.connect(path, isolation_level=None)
        blocker.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LedgerUnavailable, match=r"locked.*nothing is trained"):
            ledger.reserve(release("a"))
        with pytest.raises(LedgerUnavailable, match=r"locked.*nothing is trained"):
            ledger.answer(run="r", request="q")  # reading is refused by the same name
        blocker.execute("ROLLBACK")
        blocker.close()
        ledger.reserve(release("a"))


def test_a_failing_signer_leaves_nothing_behind(path: Path) -> None:
    def broken(_: bytes) -> bytes:
        raise RuntimeError("the key is on a token that was pulled out")

    open_ledger(path).close()
    with open_ledger(path, sign=broken) as ledger:
        head = ledger.head
        with pytest.raises(RuntimeError, match="token"):
            ledger.reserve(release("a"))
        assert ledger.head == head


def test_a_full_disk_leaves_the_ledger_as_it_was(path: Path) -> None:
    with open_ledger(path) as ledger:
        ledger.reserve(release("a"))
        pages = ledger._store.connection.execute("PRAGMA page_count").fetchone()[0]
        ledger._store.connection.execute(f"PRAGMA max_page_count = {pages}")
        head = ledger.head
        with pytest.raises(LedgerUnavailable, match="full"):
            ledger.commit("a", bytes(1_000_000))
        assert ledger.head == head
        assert ledger.state("a") == "reserved"


def test_a_file_that_is_replaced_while_in_use_is_noticed(path: Path) -> None:
    """What is written into the unlinked file would be lost: nothing is written any more."""
    with open_ledger(path) as ledger:
        ledger.reserve(release("a"))
        shutil.copy(path, path.with_suffix(".old"))
        path.with_suffix(".old").replace(path)
        with pytest.raises(TamperedLedger, match="replaced while it was in use"):
            ledger.reserve(release("b"))


def test_rows_that_are_taken_back_while_in_use_are_noticed(path: Path) -> None:
    with open_ledger(path) as ledger:
        ledger.reserve(release("a"))
        ledger.reserve(release("b"))
        assert ledger.head.length == 3
        vandalise(path, "DELETE FROM rows WHERE length = 3")
        with pytest.raises(TamperedLedger, match="old or foreign copy"):
            ledger.reserve(release("c"))


def test_another_process_s_rows_are_checked_before_the_next_is_written(path: Path) -> None:
    with open_ledger(path) as ledger, open_ledger(path) as other:
        other.reserve(release("a"))
        vandalise(
            path, "UPDATE rows SET body = replace(body, '\"steps\":19', '\"steps\":1') WHERE length = 2"
        )
        with pytest.raises(TamperedLedger, match="does not follow"):
            ledger.reserve(release("b"))


def test_signatures_are_checked_on_opening_where_the_key_is_known(path: Path) -> None:
    open_ledger(path).close()
    open_ledger(path, public=KEY.public).close()
    with pytest.raises(TamperedLedger, match="row 1 is not signed"):
        open_ledger(path, public=SigningKey.generate().public)


def test_what_a_crash_cut_off_is_burned_by_run(ledger: Ledger) -> None:
    ledger.reserve(release("a"))
    ledger.reserve(release("b"))
    ledger.commit("b", b"update")
    assert ledger.burn_cut_off("another") == []
    assert ledger.burn_cut_off("r1") == ["a"]
    assert (ledger.state("a"), ledger.state("b")) == ("burned", "committed")


def test_a_witnessed_receipt_gives_way_to_a_longer_ledger_only(path: Path) -> None:
    with open_ledger(path) as ledger:
        ledger.witness("hospital-4", length=7, receipt=b"seven")
        ledger.witness("hospital-4", length=5, receipt=b"five")
        assert read_witnessed(path) == {"hospital-4": b"seven"}
        ledger.witness("hospital-4", length=9, receipt=b"nine")
    assert read_witnessed(path) == {"hospital-4": b"nine"}
