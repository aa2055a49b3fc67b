"""``fedlearn attack``: its table, its JSON and its refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedlearn.cli.main import main
from fedlearn.errors import RunDirectoryError
from tests.runs.reports import bare_result

EXPERIMENT = """
name = "tiny"
rounds = 1
[data]
dataset = "digits"
partition = { clients = 5 }
[model]
name = "mlp"
[privacy]
enabled = true
epsilon = 3.0
delta = 1e-4
[secure_aggregation]
enabled = true
"""
PROTECTIONS = ["nothing", "secure aggregation", "differential privacy", "both"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(EXPERIMENT)
    return path


def test_each_protection_has_its_line(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["attack", str(file), "--attack", "update-inversion"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "update-inversion" in line]
    assert [line.split("  ")[0] for line in lines] == PROTECTIONS
    assert "succeeds: 5 of 5 records recovered" in lines[0]
    assert all("fails: 0 of 5" in line for line in lines[1:])


def test_the_report_of_a_run_then_has_the_table(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert main(["simulate", str(file), "--out", str(out), "--quiet"]) == 0
    assert "What an adversary gets" not in (out / "report.html").read_text()
    assert main(["attack", str(out), "--attack", "sum-inversion"]) == 0
    assert "What an adversary gets" in (out / "report.html").read_text()
    (out / "attacks.json").write_text('{"nothing": [{"attack": "sum-inversion"}]}')
    assert main(["report", str(out)]) == 7


def test_json_is_all_that_is_printed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["attack", str(file), "--attack", "sum-inversion", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == PROTECTIONS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--attack", "update-inversoin"], "Did you mean 'update-inversion'"),
        (["--attack", "imprint", "--set", "model.name=cnn"], "begins with Conv2d"),
        (["--seed", "-1"], "--seed -1 must be at least 0"),
    ],
)
def test_what_does_not_fit_is_one_line_and_an_exit_code(
    file: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["attack", str(file), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("missing", ["result.json", "rounds.jsonl", "experiment.toml"])
def test_a_run_without_what_it_needs_is_refused_before_the_attack(
    file: Path, tmp_path: Path, missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    settings = ["--set", "privacy.enabled=false", "--set", "secure_aggregation.enabled=false"]
    assert main(["simulate", str(file), "--out", str(out), "--quiet", *settings]) == 0
    (out / missing).unlink()
    capsys.readouterr()
    for command in ("attack", "report"):
        assert main([command, str(out)]) == RunDirectoryError.exit_code
        printed = capsys.readouterr()
        assert printed.out == ""
        assert missing in printed.err
        assert printed.err.count("\n") == 1


def test_a_run_of_sites_is_not_attacked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "result.json").write_text(bare_result(engine="sites").to_json())
    assert main(["attack", str(tmp_path)]) == RunDirectoryError.exit_code
    assert "are at its sites" in capsys.readouterr().err
