"""Latches: closed once, for good, before the answer leaves, whoever asks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
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
