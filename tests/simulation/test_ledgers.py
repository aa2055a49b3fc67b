"""Simulations with ledgers: budgets over runs, interruptions, and copies that were put back."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedlearn.errors import (
    BudgetExhausted,
    ConfigError,
    LedgerUnavailable,
    PrivacyError,
    RunInterrupted,
    TamperedLedger,
    UndeclaredDataSet,
)
from fedlearn.experiment import Experiment
from fedlearn.privacy.account import Account
from fedlearn.privacy.accounting import epsilon
from fedlearn.privacy.events import event_from_dict
from fedlearn.privacy.release import latest, read, spent
from fedlearn.privacy.store import read_witnessed
from fedlearn.runs.progress import RoundReport, Silent
from fedlearn.runs.result import Result
from fedlearn.runs.verification import read_statement, verify_run
from fedlearn.simulation import simulate

Make = Callable[..., Experiment]
POLICY = "[datasets.breast-cancer]\nepsilon = 4.5\ndelta = 1e-3\n"
# Two full-batch steps a round: ε 3.00 after three rounds, closed form, so that nothing takes long.
PRIVATE = {"enabled": True, "epsilon": 3.0, "delta": 1e-3}
MASKED = {"enabled": True, "mode": "masked", "colluders": 1}


class StopsAfter(Silent):
    """Ctrl-C after some rounds."""

    def __init__(self, rounds: int) -> None:
        self._left = rounds

    def round_done(self, report: RoundReport) -> None:
        self._left -= 1
        if self._left == 0:
            raise KeyboardInterrupt


class StopsInside(Silent):
    """Ctrl-C when the first client of a round has answered."""

    def client_done(self, round: int, done: int, cohort: int) -> None:
        if round == 1:
            raise KeyboardInterrupt


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    folder = tmp_path / "ledgers"
    folder.mkdir()
    (folder / "policy.toml").write_text(POLICY)
    return folder


def counted(folder: Path, client: str = "client-0", *, run: str | None = None) -> Account:
    return spent(latest(read(folder / f"{client}.sqlite")).values(), "breast-cancer", run=run)


def test_a_run_books_what_it_prints(experiment: Make, ledger: Path, tmp_path: Path) -> None:
    result = simulate(
        experiment(privacy=PRIVATE, secure_aggregation=MASKED), out=tmp_path / "run", ledger=ledger
    )
    for entry in result.privacy[:-1]:
        account = counted(ledger, entry.client)
        assert account.steps == 3 * 2
        assert account.epsilon(delta=1e-3) == entry.epsilon
    states = {release["state"] for release in latest(read(ledger / "client-0.sqlite")).values()}
    assert states == {"committed"}


def test_the_budget_spans_runs_and_changes_of_the_data(
    experiment: Make, ledger: Path, tmp_path: Path
) -> None:
    simulate(experiment(privacy=PRIVATE), out=tmp_path / "one", ledger=ledger)
    other = {"dataset": "breast-cancer", "partition": {"kind": "quantity-skew", "clients": 5}}
    head = len(read(ledger / "client-0.sqlite"))
    little = {**PRIVATE, "epsilon": 1.0}
    simulate(experiment(privacy=little, data=other, rounds=1), out=tmp_path / "two", ledger=ledger)
    assert len(read(ledger / "client-0.sqlite")) > head
    with pytest.raises(BudgetExhausted, match=r"'breast-cancer'.*budget is 4\.5"):
        simulate(experiment(privacy=PRIVATE), out=tmp_path / "three", ledger=ledger)
    assert counted(ledger).epsilon(delta=1e-3) <= 4.5


def test_each_run_prints_its_own_epsilon_and_its_clients_that_of_all(
    experiment: Make, ledger: Path, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        small = experiment(privacy={**PRIVATE, "epsilon": 1.0})
        assert simulate(small, out=tmp_path / name, ledger=ledger).epsilon == pytest.approx(1.0, abs=0.01)
    statement = read_statement(tmp_path / "two")
    lifetime = statement.clients[0].lifetime
    assert lifetime is not None
    assert lifetime.epsilon == counted(ledger).epsilon(delta=1e-3) > 1.3
    assert lifetime.budget == 4.5


def test_an_interrupted_round_stays_charged(experiment: Make, ledger: Path, tmp_path: Path) -> None:
    """Without a ledger such a round is void; with one, what was reserved or committed is spent."""
    small = experiment(privacy={**PRIVATE, "epsilon": 1.0})
    with pytest.raises(RunInterrupted):
        simulate(small, out=tmp_path / "run", ledger=ledger, progress=StopsInside())
    before = {name: counted(ledger, name).steps for name in ("client-0", "client-4")}
    assert before == {"client-0": 4, "client-4": 2}
    simulate(small, out=tmp_path / "run", ledger=ledger, resume=True)
    # In the clear the same request gets the same bytes: the interrupted round costs nothing more.
    assert counted(ledger, "client-0").steps == 6
    verify_run(tmp_path / "run", ledgers={"client-0": ledger / "client-0.sqlite"})


def test_a_repeated_masked_round_is_charged_again(experiment: Make, ledger: Path, tmp_path: Path) -> None:
    small = experiment(privacy={**PRIVATE, "epsilon": 1.0}, secure_aggregation=MASKED)
    with pytest.raises(RunInterrupted):
        simulate(small, out=tmp_path / "run", ledger=ledger, progress=StopsInside())
    result = simulate(small, out=tmp_path / "run", ledger=ledger, resume=True)
    assert counted(ledger, "client-0").steps == 8
    printed = {entry.client: entry.epsilon for entry in result.privacy}
    assert printed["client-0"] == counted(ledger, "client-0").epsilon(delta=1e-3)
    assert printed["overall"] == max(printed.values()) > 1.0
    verify_run(tmp_path / "run", ledgers={"client-0": ledger / "client-0.sqlite"})


def test_an_old_copy_is_recognised_by_what_the_others_keep(
    experiment: Make, ledger: Path, tmp_path: Path
) -> None:
    small = experiment(privacy={**PRIVATE, "epsilon": 1.0})
    simulate(small, out=tmp_path / "one", ledger=ledger)
    shutil.copy(ledger / "client-2.sqlite", tmp_path / "backup")
    simulate(small, out=tmp_path / "two", ledger=ledger)
    assert set(read_witnessed(ledger / "client-0.sqlite")) == {f"client-{number}" for number in range(1, 5)}
    shutil.copy(tmp_path / "backup", ledger / "client-2.sqlite")
    with pytest.raises(TamperedLedger, match="old or foreign copy"):
        simulate(small, out=tmp_path / "three", ledger=ledger)
    assert not (tmp_path / "three").exists()


def test_a_ledger_that_is_gone_is_no_fresh_start(experiment: Make, ledger: Path, tmp_path: Path) -> None:
    small = experiment(privacy={**PRIVATE, "epsilon": 1.0})
    simulate(small, out=tmp_path / "one", ledger=ledger)
    (ledger / "client-2.sqlite").unlink()
    with pytest.raises(TamperedLedger, match="old or foreign copy"):
        simulate(small, out=tmp_path / "two", ledger=ledger)


@pytest.mark.parametrize(
    ("policy", "error", "line"),
    [
        ("", ConfigError, "is no policy"),
        (
            "[datasets.skin]\nepsilon = 1.0\ndelta = 1e-3\n",
            UndeclaredDataSet,
            "'breast-cancer' has no budget",
        ),
        ("datasets = 3\n", ConfigError, "is no policy"),
        ("[datasets.a]\nepsilon = -1.0\ndelta = 1e-3\n", ConfigError, r"datasets\.a: epsilon=-1\.0"),
        ("[datasets.a]\nepsilon = 1.0\ndelat = 1e-3\n", ConfigError, "must have epsilon and delta"),
        ("[datasets.", ConfigError, "not valid TOML"),
    ],
)
def test_a_policy_decides_before_anything_is_trained(
    experiment: Make, ledger: Path, policy: str, error: type[Exception], line: str
) -> None:
    (ledger / "policy.toml").write_text(policy)
    with pytest.raises(error, match=line):
        simulate(experiment(privacy=PRIVATE), out=ledger / "run", ledger=ledger)
    assert_nothing_released(ledger)


def test_a_missing_policy_is_shown_how_to_write(experiment: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"policy\.toml cannot be read.*datasets\.NAME"):
        simulate(experiment(privacy=PRIVATE), out=tmp_path / "run", ledger=tmp_path)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"privacy": {}}, "no differential privacy"),
        ({"reproducible_noise": True}, "reproducible_noise = true protects nobody"),
    ],
)
def test_what_no_budget_covers_is_refused(
    experiment: Make, ledger: Path, changes: dict[str, Any], line: str
) -> None:
    with pytest.raises(PrivacyError, match=line):
        simulate(experiment(**{"privacy": PRIVATE, **changes}), out=ledger / "run", ledger=ledger)
    assert_nothing_released(ledger)


def assert_nothing_released(ledger: Path) -> None:
    for file in ledger.glob("*.sqlite"):
        assert len(read(file)) == 1


def test_a_key_that_is_broken_is_named(experiment: Make, ledger: Path, tmp_path: Path) -> None:
    (ledger / "client-1.key").write_bytes(b"short")
    with pytest.raises(LedgerUnavailable, match=r"client-1\.key cannot be used"):
        simulate(experiment(privacy=PRIVATE), out=tmp_path / "run", ledger=ledger)


def test_a_replaced_key_is_noticed(experiment: Make, ledger: Path, tmp_path: Path) -> None:
    small = experiment(privacy={**PRIVATE, "epsilon": 1.0})
    simulate(small, out=tmp_path / "one", ledger=ledger)
    (ledger / "client-1.key").unlink()
    with pytest.raises(TamperedLedger, match=r"was the key replaced\?"):
        simulate(small, out=tmp_path / "two", ledger=ledger)


def test_a_ledger_is_written_by_one_process(experiment: Make, ledger: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--workers 2: a ledger is written by one process"):
        simulate(experiment(privacy=PRIVATE), out=tmp_path / "run", ledger=ledger, workers=2)


def test_baselines_without_privacy_are_not_computed_under_a_ledger(
    experiment: Make, ledger: Path, tmp_path: Path
) -> None:
    small = experiment(privacy={**PRIVATE, "epsilon": 1.0}, baselines={"unprotected": True})
    result = simulate(small, out=tmp_path / "run", ledger=ledger)
    assert result.baselines.unprotected.metrics is None
    assert "no budget covers" in str(result.baselines.unprotected.reason)


def test_what_is_printed_follows_from_what_is_signed(experiment: Make, tmp_path: Path) -> None:
    result = simulate(experiment(privacy=PRIVATE), out=tmp_path / "run")
    statement = read_statement(tmp_path / "run")
    for client in statement.clients:
        events = [event_from_dict(event) for event in client.events]
        assert epsilon(events, delta=client.delta) == client.epsilon
    assert statement.overall is not None
    assert statement.overall.epsilon == result.epsilon == Result.load(tmp_path / "run").epsilon
