"""``fedlearn budget`` reads a ledger, adds it up and finds what is wrong with it."""

from __future__ import annotations

import json
import sqlite3
from argparse import ArgumentParser
from pathlib import Path

import pytest

from fedlearn.cli import budget
from fedlearn.crypto.identity import SigningKey
from fedlearn.errors import ConfigError, FedLearnError, TamperedLedger
from fedlearn.privacy.budget import Budget
from fedlearn.privacy.events import SampledGaussianEvent
from fedlearn.privacy.ledger import Ledger
from fedlearn.privacy.release import Release

KEY = SigningKey.from_bytes(bytes(range(32)))


def command(*arguments: str) -> int:
    parser = ArgumentParser()
    budget.add_arguments(parser)
    return budget.run(parser.parse_args(arguments))


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.sqlite"
    event = SampledGaussianEvent(noise_multiplier=1.0, sample_rate=1 / 19, steps=95)
    budgets = {"heart": Budget(epsilon=9.0, delta=1e-4)}
    with Ledger(path, owner="hospital-3", sign=KEY.sign, budgets=budgets) as opened:
        for name in ("a", "b", "c"):
            opened.reserve(
                Release(id=name, run="r", round=0, dataset="heart", clip_norm=1.0, events=(event,))
            )
        opened.commit("a", b"update")
        opened.refund("c")
    return path


def test_show_adds_up_what_is_not_refunded(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("show", str(ledger), "--delta", "1e-4", "--json") == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry["epsilon"] == pytest.approx(4.12, abs=0.005)
    assert entry["releases"] == {"committed": 1, "refunded": 1, "reserved": 1}
    assert entry["steps"] == 190


def test_shown_epsilon_carries_its_meaning(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("show", str(ledger), "--delta", "1e-4") == 0
    text = capsys.readouterr().out
    assert "heart: ε = 4.12 at δ = 0.0001 per record (add-remove)" in text


def test_verify_checks_chain_signatures_and_head(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("verify", str(ledger), "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["rows"] == 6
    assert "not checked" in report["signatures"]
    assert command("verify", str(ledger), "--public-key", KEY.public.hex(), "--head", report["head"]) == 0
    text = capsys.readouterr().out
    assert "valid" in text
    assert "contained" in text


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--public-key", SigningKey.from_bytes(bytes(32)).public.hex()), TamperedLedger),
        (("--head", "7:" + "00" * 32), TamperedLedger),
        (("--public-key", "no key"), ConfigError),
    ],
)
def test_verify_fails_by_name(ledger: Path, arguments: tuple[str, str], error: type[FedLearnError]) -> None:
    with pytest.raises(error):
        command("verify", str(ledger), *arguments)


def test_a_changed_row_is_neither_shown_nor_verified(ledger: Path) -> None:
    connection = sqlite3.connect(ledger)
    connection.executescript("DROP TRIGGER rows_keep; UPDATE rows SET body = '{}' WHERE length = 2;")
    connection.close()
    for action in ("show", "verify"):
        with pytest.raises(TamperedLedger, match="ledger row 2"):
            command(action, str(ledger))


def test_export_prints_every_row(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("export", str(ledger)) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["row"]["state"] for line in lines] == [
        "opened",
        "reserved",
        "reserved",
        "reserved",
        "committed",
        "refunded",
    ]
    assert all(len(line["digest"]) == 64 and len(line["signature"]) == 128 for line in lines)


def test_an_empty_ledger_has_spent_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new.sqlite"
    Ledger(path, owner="hospital-3", sign=KEY.sign, budgets={}).close()
    assert command("show", str(path)) == 0
    assert "nothing was released" in capsys.readouterr().out
