"""``fedlearn verify``: a finished run is true as it lies there, and a change anywhere is found and named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from fedlearn.cli.main import main
from fedlearn.crypto.identity import SigningKey
from fedlearn.errors import PrivacyError, RunDirectoryError, TamperedLedger, TamperedStatement
from fedlearn.experiment import Experiment
from fedlearn.privacy.receipt import SignedReceipt, open_receipt
from fedlearn.runs.statement import Statement, statement_schema
from fedlearn.runs.statement_page import statement_page
from fedlearn.runs.verification import verify_run
from fedlearn.simulation import simulate

EXPERIMENT = {
    "name": "small",
    "rounds": 2,
    "data": {"dataset": "breast-cancer", "partition": {"kind": "iid", "clients": 4}},
    "model": {"name": "logistic"},
    "training": {"learning_rate": 0.5, "local_steps": 2},
    "privacy": {"enabled": True, "epsilon": 2.0, "delta": 1e-3},
    "secure_aggregation": {"enabled": True, "mode": "ideal"},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    (folder / "ledgers").mkdir()
    (folder / "ledgers" / "policy.toml").write_text("[datasets.breast-cancer]\nepsilon = 9.0\ndelta = 1e-3\n")
    simulate(Experiment.from_dict(EXPERIMENT), out=folder / "run", ledger=folder / "ledgers")
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Iterator[Path]:
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy" / "run"  # type: ignore[return-value]


def edit(run: Path, name: str, change: Callable[[Any], Any]) -> None:
    values = json.loads((run / name).read_text())
    change(values)
    (run / name).write_text(json.dumps(values))


def test_a_run_as_it_was_written_is_verified(run: Path) -> None:
    verified = verify_run(run)
    assert any("4 of 4 clients have signed" in line for line in verified.checks)
    assert any("4 clients have signed the statement as a whole; 4 keep" in line for line in verified.checks)


def test_ledgers_and_a_known_roster_are_checked_too(run: Path) -> None:
    roster = {
        name: bytes.fromhex(key)
        for name, key in json.loads((run / "receipts.json").read_text())["roster"].items()
    }
    ledgers = {name: run.parent / "ledgers" / f"{name}.sqlite" for name in roster}
    verified = verify_run(run, roster=roster, ledgers=ledgers)
    assert sum("ledger of" in line for line in verified.checks) == 4
    stranger = {**roster, "client-1": SigningKey.generate().public}
    with pytest.raises(TamperedStatement, match=r"client 'client-1' is not the one you know"):
        verify_run(run, roster=stranger)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields the path of every number, word and truth in a JSON value."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from leaves(part, (*path, key))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from leaves(part, (*path, index))
    elif value is not None:
        yield path


def flip(values: Any, path: tuple[Any, ...]) -> None:
    """Changes one leaf by little."""
    for step in path[:-1]:
        values = values[step]
    old = values[path[-1]]
    if isinstance(old, bool):
        values[path[-1]] = not old
    elif isinstance(old, int | float):
        values[path[-1]] = old + 1 if isinstance(old, int) else old * 1.01
    else:
        last = "1" if old[-1:] == "0" else "0"
        values[path[-1]] = old[:-1] + last


@pytest.mark.parametrize("name", ["privacy_statement.json", "receipts.json"])
def test_a_change_anywhere_is_found(run: Path, name: str) -> None:
    original = (run / name).read_text()
    missed = []
    for path in leaves(json.loads(original)):
        values = json.loads(original)
        flip(values, path)
        (run / name).write_text(json.dumps(values))
        try:
            verify_run(run)
        except (TamperedStatement, PrivacyError):
            continue
        missed.append(path)
    assert missed == []


@pytest.mark.parametrize(
    ("name", "change", "culprit"),
    [
        (
            "privacy_statement.json",
            lambda v: v["clients"][2].update(epsilon=0.5),
            "statement of client 'client-2': ε",
        ),
        ("privacy_statement.json", lambda v: v["overall"].update(epsilon=0.5), "overall ε"),
        ("privacy_statement.json", lambda v: v["not_covered"].pop(), "has signed another statement"),
        ("privacy_statement.json", lambda v: v["trust"].update(colluders=3), "has signed another statement"),
        ("privacy_statement.json", lambda v: v.update(more=1), "privacy_statement.json: more"),
        (
            "privacy_statement.json",
            lambda v: v["clients"][0]["events"][0].update(steps=1),
            "statement of client 'client-0': ε",
        ),
        (
            "receipts.json",
            lambda v: v["receipts"].pop("client-1"),
            "statement of client 'client-1': signed is True",
        ),
        ("receipts.json", lambda v: v["witnesses"].clear(), "no client has signed the statement"),
        ("receipts.json", lambda v: v["roster"].pop("client-3"), "roster is not the one"),
        ("result.json", lambda v: v["privacy"][1].update(epsilon=0.1), r"result.json: ε of 'client-1'"),
        ("result.json", lambda v: v["privacy"].pop(), "not about the clients"),
    ],
)
def test_the_culprit_is_named(run: Path, name: str, change: Callable[[Any], Any], culprit: str) -> None:
    edit(run, name, change)
    with pytest.raises(TamperedStatement, match=culprit):
        verify_run(run)


def test_a_receipt_of_another_run_is_no_receipt_of_this_one(
    finished: Path, run: Path, tmp_path: Path
) -> None:
    simulate(Experiment.from_dict(EXPERIMENT), out=tmp_path / "other", ledger=run.parent / "ledgers")
    other = json.loads((tmp_path / "other" / "receipts.json").read_text())["receipts"]
    edit(run, "receipts.json", lambda values: values["receipts"].update({"client-0": other["client-0"]}))
    with pytest.raises(TamperedStatement, match="receipt of client 'client-0' is that of 'client-0' for run"):
        verify_run(run)


def test_a_ledger_older_than_the_run_or_changed_is_found(run: Path) -> None:
    ledger = run.parent / "ledgers" / "client-0.sqlite"
    foreign = run.parent / "ledgers" / "client-1.sqlite"
    with pytest.raises(TamperedLedger):
        verify_run(run, ledgers={"client-0": foreign})
    content = bytearray(ledger.read_bytes())
    place = content.index(b'"steps":2')
    content[place : place + 9] = b'"steps":1'
    ledger.write_bytes(bytes(content))
    with pytest.raises(TamperedLedger, match="does not follow"):
        verify_run(run, ledgers={"client-0": ledger})


def test_an_unfinished_run_is_said_to_be_one(run: Path, tmp_path: Path) -> None:
    (run / "receipts.json").unlink()
    with pytest.raises(RunDirectoryError, match=r"receipts\.json is missing.*finished"):
        verify_run(run)
    with pytest.raises(RunDirectoryError):
        verify_run(tmp_path / "nothing")


def test_the_command_ends_with_the_error_of_what_it_found(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["verify", str(run), "--ledger", str(run.parent / "ledgers")]
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["run"].startswith("small-0-")
    assert main(arguments) == 0
    assert "verified" in capsys.readouterr().out
    edit(run, "privacy_statement.json", lambda values: values["clients"][2].update(epsilon=0.5))
    assert main(arguments) == 5
    assert "TamperedStatement: statement of client 'client-2'" in capsys.readouterr().err


def test_an_audit_joins_the_statement_without_breaking_signatures(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", str(run)]) == 0
    verify_run(run)
    statement = Statement.model_validate_json((run / "privacy_statement.json").read_text())
    assert statement.audit is not None
    assert "canaries in the training of client" in (run / "privacy_statement.md").read_text()
    accounted = statement.audit["accounted"]
    edit(run, "privacy_statement.json", lambda values: values["audit"].update(accounted=1.0))
    with pytest.raises(TamperedStatement, match="audit: accounted ε"):
        verify_run(run)
    found = {"accounted": accounted, "lower_bound": 99.0}
    edit(run, "privacy_statement.json", lambda values: values["audit"].update(found))
    with pytest.raises(PrivacyError, match="contradicts"):
        verify_run(run)


def test_the_shipped_schema_is_current() -> None:
    shipped = json.loads((files("fedlearn.runs") / "privacy_statement.schema.json").read_text("utf-8"))
    assert shipped == statement_schema()


def test_the_statement_has_what_a_reader_needs(run: Path) -> None:
    statement = Statement.model_validate_json((run / "privacy_statement.json").read_text())
    page = statement_page(statement)
    for words in (
        "per record",
        "add-remove",
        "the server",
        "σ",
        "steps 4",
        "operating system",
        "PLD",
        "0.1%",
    ):
        assert words in page
    assert "Not covered" in page
    assert statement.overall is not None
    assert set(statement.overall.attacker_tpr_at_fpr) == {"0.001", "0.01", "0.1"}
    assert statement.trust.min_survivors is not None


def test_without_privacy_the_statement_says_so(tmp_path: Path) -> None:
    plain = {**EXPERIMENT, "privacy": {}, "rounds": 1}
    simulate(Experiment.from_dict(plain), out=tmp_path / "run")
    verify_run(tmp_path / "run")
    page = (tmp_path / "run" / "privacy_statement.md").read_text()
    assert "no differential privacy" in page


def test_receipts_are_bound_to_their_signer(run: Path) -> None:
    kept = json.loads((run / "receipts.json").read_text())
    entry = kept["receipts"]["client-0"]
    signed = SignedReceipt(body=entry["body"].encode(), signature=bytes.fromhex(entry["signature"]))
    assert open_receipt(signed, public=bytes.fromhex(kept["roster"]["client-0"])).client == "client-0"
    with pytest.raises(TamperedStatement, match="not signed"):
        open_receipt(signed, public=bytes.fromhex(kept["roster"]["client-1"]))
