"""A client with a ledger: charged before training, bound before sending, and never below what has left.

The kills are injected: a client in a process of its own dies by SIGKILL when the drawn SQL statement
begins, or at a drawn point of training and sending, and what it wrote to its wire is compared with
what its ledger counts.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from fedlearn._types import Vector
from fedlearn.crypto.identity import SigningKey
from fedlearn.crypto.prg import Keystream
from fedlearn.errors import BudgetExhausted, DataError, LedgerUnavailable, PrivacyError, UndeclaredDataSet
from fedlearn.privacy.budget import Budget
from fedlearn.privacy.ledger import Ledger
from fedlearn.privacy.release import latest, read
from fedlearn.rounds.client import Client
from fedlearn.rounds.messages import TrainReply, TrainRequest, encode
from fedlearn.rounds.protection import Protection
from fedlearn.rounds.releases import LedgerReleases, pack, unpack
from fedlearn.rounds.transport import Message
from fedlearn.training.batches import StepPlan
from fedlearn.training.record_privacy import RecordPrivacy
from tests.rounds.parties import RUN

KEY = SigningKey.from_bytes(bytes(range(32)))
# Without sampling ε has a closed form: the account of many rounds is a matter of microseconds.
PLAN = StepPlan(steps=3, sample_rate=1.0)
RECORD = RecordPrivacy(noise_multiplier=5.0, max_grad_norm=1.0, sample_rate=1.0, declared_size=10)
PROTECTION = Protection(weight=1.0, plan=PLAN, record=RECORD)
MODEL = np.zeros(6, np.float32)


class Fresh:
    """A trainer whose update is never the same twice."""

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        self.trained = 0
        self._before = before

    def train(self, params: Vector, *, round: int) -> Vector:
        self._before()
        self.trained += 1
        return np.frombuffer(os.urandom(24), np.uint32).astype(np.float32)


def asking(round: int, model: Vector = MODEL) -> Message:
    return Message(client="a", body=encode(TrainRequest(run=RUN, round=round)), vectors=(model,))


def open_ledger(path: Path, *, epsilon: float = 1000.0) -> Ledger:
    budgets = {"heart": Budget(epsilon=epsilon, delta=1e-3)}
    return Ledger(path, owner="a", sign=KEY.sign, budgets=budgets)


def client_with(ledger: Ledger, trainer: object, *, protection: Protection = PROTECTION) -> Client:
    return Client(
        name="a",
        run=RUN,
        trainer=trainer,  # type: ignore[arg-type]
        protection=protection,
        dimension=6,
        releases=LedgerReleases(ledger, run=RUN, dataset="heart", protection=protection),
        rounding=lambda round: Keystream(bytes(32)),
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with open_ledger(tmp_path / "a.sqlite") as opened:
        yield opened


def states(ledger: Ledger) -> list[str]:
    """Returns the state of each release as the file has it."""
    return [release["state"] for release in latest(read(ledger._path)).values()]


def test_a_round_is_reserved_while_it_trains_and_committed_when_it_leaves(ledger: Ledger) -> None:
    seen: list[str] = []
    client = client_with(ledger, Fresh(lambda: seen.extend(states(ledger))))
    client.answer(asking(0))
    assert seen == ["reserved"]
    assert states(ledger) == ["committed"]
    assert ledger.account("heart").steps == client.releases.account().steps == 3


def test_the_same_request_gets_the_same_bytes_for_nothing(ledger: Ledger) -> None:
    trainer = Fresh()
    client = client_with(ledger, trainer)
    first, head = client.answer(asking(0)), ledger.head
    again = client_with(ledger, trainer).answer(asking(0))
    assert pack(again) == pack(first)
    assert trainer.trained == 1
    assert ledger.head == head


def test_another_model_in_the_same_round_is_another_release(ledger: Ledger) -> None:
    client = client_with(ledger, Fresh())
    client.answer(asking(0))
    client.answer(asking(0, MODEL + np.float32(1)))
    assert states(ledger) == ["committed", "committed"]
    assert ledger.account("heart").steps == 6


def test_bytes_are_kept_for_one_round(ledger: Ledger) -> None:
    trainer = Fresh()
    client = client_with(ledger, trainer)
    for round in (0, 1, 0):
        client.answer(asking(round))
    assert trainer.trained == 3
    assert ledger.account("heart").steps == 9


def test_a_finished_run_keeps_no_bytes(ledger: Ledger) -> None:
    client = client_with(ledger, Fresh())
    client.answer(asking(0))
    assert isinstance(client.releases, LedgerReleases)
    client.releases.finish()
    assert client.releases.answered(asking(0)) is None


def test_a_round_that_fails_is_burned(ledger: Ledger) -> None:
    def broken() -> None:
        raise DataError("record 17 is broken")

    with pytest.raises(DataError):
        client_with(ledger, Fresh(broken)).answer(asking(0))
    assert states(ledger) == ["burned"]
    assert ledger.account("heart").steps == 3


def test_a_spent_budget_trains_nothing(tmp_path: Path) -> None:
    trainer = Fresh()
    with open_ledger(tmp_path / "a.sqlite", epsilon=4.5) as ledger:
        client = client_with(ledger, trainer)
        error = next(filter(None, (refusal(client, round) for round in range(100))))
        assert re.search(r"'heart'.*budget is 4\.5.*would fit", str(error))
        assert trainer.trained == len(states(ledger)) > 0
        assert ledger.epsilon("heart") <= 4.5


def refusal(client: Client, round: int) -> BudgetExhausted | None:
    try:
        client.answer(asking(round))
    except BudgetExhausted as error:
        return error
    return None


def test_records_without_a_budget_and_runs_without_dp_are_refused(ledger: Ledger) -> None:
    with pytest.raises(UndeclaredDataSet, match=r"'lung' has no budget.*declared: 'heart'"):
        LedgerReleases(ledger, run=RUN, dataset="lung", protection=PROTECTION)
    bare = Protection(weight=1.0, plan=PLAN)
    with pytest.raises(PrivacyError, match="no differential privacy"):
        LedgerReleases(ledger, run=RUN, dataset="heart", protection=bare)


def test_a_full_disk_sends_nothing(ledger: Ledger) -> None:
    client, trainer = client_with(ledger, Fresh()), Fresh()
    client.answer(asking(0))
    pages = ledger._store.connection.execute("PRAGMA page_count").fetchone()[0]
    ledger._store.connection.execute(f"PRAGMA max_page_count = {pages}")
    spent = ledger.account("heart").steps
    wide = np.zeros(200_000, np.float32)
    big = client_with(ledger, trainer)
    big._dimension = len(wide)
    trainer.train = lambda params, *, round: wide  # type: ignore[method-assign]
    with pytest.raises(LedgerUnavailable, match="full"):
        big.answer(asking(1, wide))
    assert ledger.account("heart").steps >= spent
    assert states(ledger).count("committed") == 1


def test_packed_replies_come_back_whole() -> None:
    for vector in (np.arange(3, dtype=np.float32), np.arange(3, dtype=np.uint32), np.zeros(0, np.uint16)):
        reply = Message(client="a", body=b"body", vectors=(vector,))
        back = unpack(pack(reply), client="a")
        assert back.body == b"body"
        np.testing.assert_array_equal(back.vectors[0], vector)
        assert back.vectors[0].dtype == vector.dtype


class Killer:
    """Kills this process at its ``point``-th chance: a statement of the ledger, or a moment of the client."""

    def __init__(self, point: int) -> None:
        self.chances = 0
        self._point = point

    def __call__(self, *_: object) -> None:
        if self.chances == self._point:
            os.kill(os.getpid(), signal.SIGKILL)
        self.chances += 1


def work(path: Path, wire: Path, killer: Killer) -> None:
    """Two rounds of a client; what leaves it is written to the wire, and the wire is all that leaves."""
    with open_ledger(path) as ledger:
        ledger._store.connection.set_trace_callback(killer)
        client = client_with(ledger, Fresh(killer))
        for round in range(2):
            reply = client.answer(asking(round))
            killer()
            with wire.open("ab") as line:
                line.write(pack(reply))
            killer()


def chances(path: Path) -> int:
    """Returns how many points there are to be killed at."""
    killer = Killer(-1)
    work(path, path.with_suffix(".wire"), killer)
    return killer.chances


@pytest.mark.parametrize("count", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_kills_never_lower_what_is_spent(tmp_path: Path, count: int) -> None:
    """The same client, killed and restarted many times at random points, with one ledger."""
    points = chances(tmp_path / "count.sqlite")
    assert points > 30
    path, wire = tmp_path / "a.sqlite", tmp_path / "wire"
    open_ledger(path).close()
    wire.touch()
    rng, spent, kills = np.random.default_rng(), 0, 0
    for point in rng.integers(0, points, size=count):
        if (child := os.fork()) == 0:
            try:
                work(path, wire, Killer(int(point)))
            finally:
                os._exit(0)
        kills += os.WIFSIGNALED(os.waitpid(child, 0)[1])
        with open_ledger(path) as ledger:
            steps = ledger.account("heart").steps
            assert steps >= spent, f"killed at point {point}: {steps} steps are counted, {spent} were before"
            spent = steps
    # Whatever reached the wire is a committed release, and every one of them is counted.
    reply = Message(client="a", body=encode(TrainReply(run=RUN, round=0)), vectors=(MODEL,))
    size = len(pack(reply))
    sent = wire.read_bytes()
    left = {sent[start : start + size] for start in range(0, len(sent) - size + 1, size)}
    assert kills >= count // 2
    with open_ledger(path) as ledger:
        committed = states(ledger).count("committed")
        assert len(left) <= committed
        assert spent >= 3 * len(left)
