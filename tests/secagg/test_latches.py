"""Latches: closed once, for good, before the answer leaves, whoever asks."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from fedlearn.errors import AlreadyAnswered
from fedlearn.secagg.latches import Latches, MemoryLatches, SqliteLatches
from tests.secagg.secagg_session import Federation, names_of

NAMES = names_of(5)


@pytest.fixture(params=["memory", "sqlite"])
def latches(request: pytest.FixtureRequest, tmp_path: Path) -> Latches:
    return MemoryLatches() if request.param == "memory" else SqliteLatches(tmp_path / "latches.db")


def test_a_latch_is_closed_once(latches: Latches) -> None:
    assert not latches.is_closed("a")
    latches.close("a")
    assert latches.is_closed("a")
    assert not latches.is_closed("b")
    with pytest.raises(AlreadyAnswered, match="'a' was answered before"):
        latches.close("a")
    latches.close("b")


def test_latches_in_a_file_outlive_the_process(tmp_path: Path) -> None:
    path = tmp_path / "latches.db"
    # The process ends without closing anything, as a killed one does.
    code = (
        "import os; from pathlib import Path; from fedlearn.secagg.latches import SqliteLatches;"
        f"SqliteLatches(Path({str(path)!r})).close('agree|1'); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    again = SqliteLatches(path)
    with pytest.raises(AlreadyAnswered):
        again.close("agree|1")
    again.disconnect()


def test_two_holders_of_one_file_answer_once_together(tmp_path: Path) -> None:
    one, other = (SqliteLatches(tmp_path / "latches.db") for _ in range(2))
    one.close("unmask|1")
    with pytest.raises(AlreadyAnswered):
        other.close("unmask|1")
    one.disconnect()
    other.disconnect()


def test_one_file_serves_the_threads_of_a_site(tmp_path: Path) -> None:
    latches = SqliteLatches(tmp_path / "latches.db")
    names = [f"agree|{number % 20}" for number in range(80)]

    def close(name: str) -> bool:
        try:
            latches.close(name)
        except AlreadyAnswered:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        closed = list(pool.map(close, names))
    assert sum(closed) == 20, "each is closed by one thread"
    latches.disconnect()


def test_what_is_forgotten_stays_closed_in_a_file(tmp_path: Path) -> None:
    """A copy of the site's memory may exist; of a simulation's it does not."""
    memory, file = MemoryLatches(), SqliteLatches(tmp_path / "latches.db")
    for latches in (memory, file):
        latches.close("agree|1")
        latches.close("model|run|2")
        latches.forget(["agree|1", "never"])
        assert latches.is_closed("model|run|2")
    assert not memory.is_closed("agree|1")
    assert file.is_closed("agree|1")
    file.disconnect()


@pytest.mark.parametrize("repeat_model", [False, True])
def test_latches_in_memory_do_not_grow_with_sessions(repeat_model: bool) -> None:
    latches = {name: MemoryLatches() for name in NAMES}
    for round in range(3):
        model = hashlib.sha256(bytes([round])).digest()
        federation = Federation(5, latches=latches, round=round, model=model, repeat_model=repeat_model)
        federation.run_all()
        for client in federation.clients.values():
            client.expire()
    for kept in latches.values():
        assert len(kept._closed) == (0 if repeat_model else 3), "one per model, none per session"


class Refusing:
    """Latches whose disk is full."""

    def close(self, name: str) -> None:
        raise OSError(f"no space left to write {name!r}")

    def is_closed(self, name: str) -> bool:
        return False

    def forget(self, names: Iterable[str]) -> None:
        raise AssertionError


@pytest.mark.parametrize("step", ["inputs", "agree", "unmask"])
def test_no_answer_leaves_unless_its_latch_is_written(step: str) -> None:
    federation = Federation(5)
    federation.until(step)
    victim = federation.clients[NAMES[0]]
    victim._once = replace(victim._once, latches=Refusing())
    before = federation.inputs[NAMES[0]].copy()
    with pytest.raises(OSError, match=f"{step}\\|"):
        federation.answer(NAMES[0], federation.server.requests()[NAMES[0]])
    assert victim.step == step
    assert (federation.inputs[NAMES[0]] == before).all()


def test_a_session_on_latches_in_a_file(tmp_path: Path) -> None:
    files = {name: SqliteLatches(tmp_path / f"{name}.db") for name in NAMES}
    federation = Federation(5, latches=files)
    assert (federation.run_all() == federation.ideal(NAMES)).all()
    session = federation.server._session().session.hex()
    for file in files.values():
        assert all(file.is_closed(f"{step}|{session}") for step in ("inputs", "agree", "unmask"))
        file.disconnect()
