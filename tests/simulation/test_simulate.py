"""Whole runs in one process: what they give, keep, charge and survive."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from fedlearn.errors import AlreadyAnswered, BudgetExhausted, ConfigError, RunError, RunInterrupted
from fedlearn.experiment import Experiment
from fedlearn.experiment.enrolment import Enrolment
from fedlearn.experiment.setup import RunSetup
from fedlearn.privacy.accounting import epsilon
from fedlearn.runs.execution import Execution
from fedlearn.runs.progress import RoundReport, Silent
from fedlearn.runs.report import Material, report_page
from fedlearn.runs.result import Result
from fedlearn.runs.run import OpenRun
from fedlearn.simulation import simulate
from fedlearn.simulation.inprocess import in_one_process
from fedlearn.simulation.residents import Residents

Make = Callable[..., Experiment]
MASKED = {"enabled": True, "mode": "masked", "colluders": 1}
REDONE = {**MASKED, "redo_without_dp": True}
IDEAL = {"enabled": True, "mode": "ideal", "colluders": 1}
PRIVATE = {"enabled": True, "epsilon": 3.0, "delta": 1e-3}


def model_of(directory: Path) -> np.ndarray:
    arrays = load_file(directory / "model.safetensors")
    return np.concatenate([arrays[name].ravel() for name in sorted(arrays)])


def test_rounds_between_two_tests_have_no_metrics_and_the_last_one_has(
    experiment: Make, tmp_path: Path
) -> None:
    often = simulate(experiment(rounds=5), out=tmp_path / "often")
    seldom = simulate(experiment(rounds=5, evaluate_every=2), out=tmp_path / "seldom")
    lines = (tmp_path / "seldom" / "rounds.jsonl").read_text().splitlines()
    assert [bool(json.loads(line)["metrics"]) for line in lines] == [False, True, False, True, True]
    assert seldom.final == often.final
    assert np.array_equal(model_of(tmp_path / "seldom"), model_of(tmp_path / "often"))


def test_a_run_leaves_a_complete_directory(experiment: Make, tmp_path: Path) -> None:
    baselines = {"local": True, "unprotected": True, "pooled": True}
    result = simulate(
        experiment(privacy=PRIVATE, secure_aggregation=MASKED, baselines=baselines), out=tmp_path / "run"
    )
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        "checkpoint",
        "experiment.toml",
        "holdings.json",
        "model.safetensors",
        "privacy_statement.json",
        "privacy_statement.md",
        "receipts.json",
        "report.html",
        "result.json",
        "rounds.jsonl",
        "signature.json",
    }
    assert Result.load(tmp_path / "run") == result
    assert result.rounds == 3
    assert result.final["accuracy"] is not None
    assert result.baselines.local.metrics is not None
    assert result.secure_aggregation.bytes_up_per_parameter == 4
    assert len((tmp_path / "run" / "rounds.jsonl").read_text().splitlines()) == 3


def test_the_printed_epsilon_is_that_of_the_executed_events(experiment: Make, tmp_path: Path) -> None:
    small = experiment(privacy=PRIVATE)
    result = simulate(small, out=tmp_path / "run")
    setup = RunSetup(experiment=small, run="check", roster=Enrolment.of(small.population.clients).roster)
    for entry in result.privacy:
        if entry.client != "overall":
            event = setup.protections[entry.client].event()
            assert event is not None
            assert entry.epsilon == pytest.approx(epsilon([event] * 3, delta=1e-3))
            assert entry.epsilon <= 3.0
    overall = next(entry for entry in result.privacy if entry.client == "overall")
    assert overall.epsilon == max(entry.epsilon for entry in result.privacy)


def test_clients_and_server_charge_the_same_events(experiment: Make) -> None:
    small = experiment(privacy=PRIVATE, secure_aggregation=MASKED)
    enrolment = Enrolment.of(small.population.clients)
    setup = RunSetup(experiment=small, run="small-0", roster=enrolment.roster)
    transport = in_one_process(setup, enrolment)
    execution = Execution(setup, transport, directory=None, progress=Silent(), strict=True)
    course = execution.run(execution.begin())
    assert isinstance(transport.clients, Residents)
    for name, client in transport.clients.items():
        assert client.releases.account().events == course.accounts[name].events
        assert client.releases.account().steps == 3 * setup.protections[name].plan.steps


def test_a_client_refuses_the_round_that_would_exceed_its_budget(experiment: Make) -> None:
    small = experiment(privacy=PRIVATE)
    enrolment = Enrolment.of(small.population.clients)
    setup = RunSetup(experiment=small, run="small-0", roster=enrolment.roster)
    transport = in_one_process(setup, enrolment)
    execution = Execution(setup, transport, directory=None, progress=Silent(), strict=True)
    execution.run(execution.begin())
    with pytest.raises(BudgetExhausted, match=r"of 3 at δ 0\.001"):
        execution.run(execution.begin())


def test_masked_and_ideal_give_the_same_bits(experiment: Make, tmp_path: Path) -> None:
    for mode, section in (("masked", MASKED), ("ideal", IDEAL)):
        simulate(
            experiment(secure_aggregation=section, reproducible_noise=True, privacy=PRIVATE),
            out=tmp_path / mode,
        )
    np.testing.assert_array_equal(model_of(tmp_path / "masked"), model_of(tmp_path / "ideal"))


def test_secure_aggregation_changes_the_model_by_no_more_than_its_resolution(
    experiment: Make, tmp_path: Path
) -> None:
    simulate(experiment(secure_aggregation=MASKED), out=tmp_path / "masked")
    simulate(experiment(), out=tmp_path / "clear")
    np.testing.assert_allclose(model_of(tmp_path / "masked"), model_of(tmp_path / "clear"), atol=1e-5)


def test_reproducible_noise_repeats_and_secret_noise_does_not(experiment: Make, tmp_path: Path) -> None:
    for name, reproducible in (("a", True), ("b", True), ("c", False), ("d", False)):
        simulate(experiment(privacy=PRIVATE, reproducible_noise=reproducible), out=tmp_path / name)
    models = {name: model_of(tmp_path / name) for name in "abcd"}
    np.testing.assert_array_equal(models["a"], models["b"])
    assert not np.array_equal(models["c"], models["d"])
    assert Result.load(tmp_path / "a").manifest.reproducible_noise


class StopsAfter(Silent):
    def __init__(self, rounds: int) -> None:
        self._rounds = rounds

    def client_done(self, round: int, done: int, cohort: int) -> None:
        if round == self._rounds and done == 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize("secure", [{"enabled": False}, IDEAL, MASKED], ids=["clear", "ideal", "masked"])
def test_a_resumed_run_ends_like_an_uninterrupted_one(
    experiment: Make, tmp_path: Path, secure: dict[str, object]
) -> None:
    sections = {
        "privacy": PRIVATE,
        "reproducible_noise": True,
        "secure_aggregation": secure,
        "algorithm": {"name": "fedadam"},
    }
    simulate(experiment(**sections), out=tmp_path / "whole")
    with pytest.raises(RunInterrupted, match="1 of 3 rounds are kept"):
        simulate(experiment(**sections), out=tmp_path / "cut", progress=StopsAfter(1))
    assert not (tmp_path / "cut" / "result.json").exists()
    resumed = simulate(experiment(**sections), out=tmp_path / "cut", resume=True)
    whole = Result.load(tmp_path / "whole")
    np.testing.assert_array_equal(model_of(tmp_path / "cut"), model_of(tmp_path / "whole"))
    assert resumed.privacy == whole.privacy
    assert resumed.final == whole.final


def test_a_resumed_run_knows_what_its_clients_have_spent(experiment: Make, tmp_path: Path) -> None:
    small = experiment(privacy=PRIVATE)
    with pytest.raises(RunInterrupted):
        simulate(small, out=tmp_path / "run", progress=StopsAfter(2))
    accounts = OpenRun.at(tmp_path / "run", small, resume=True).accounts
    assert {account.steps for account in accounts.values()} == {4}
    enrolment = Enrolment.of(small.population.clients)
    setup = RunSetup(experiment=small, run="small-0", roster=enrolment.roster)
    for client in Residents(setup, enrolment, accounts).values():
        assert client.releases.account().steps == 4


@pytest.mark.parametrize("step", ["advertise", "share", "input", "agree", "unmask"])
def test_a_dropout_at_any_step_is_survived(experiment: Make, tmp_path: Path, step: str) -> None:
    result = simulate(
        experiment(rounds=8, secure_aggregation=REDONE, faults={"dropout": 0.12, "step": step}, seed=3),
        out=tmp_path / "run",
    )
    rounds = [json.loads(line) for line in (tmp_path / "run" / "rounds.jsonl").read_text().splitlines()]
    assert result.secure_aggregation.dropouts > 0
    for entry in rounds:
        lost = len(entry["dropped"])
        if lost == 0:
            assert entry["survivors"] == 5
        if entry["failure"] is None and step in {"advertise", "share", "input"}:
            assert entry["survivors"] == 5 - lost >= 4


def test_too_many_dropouts_fail_the_round_and_leave_the_model(experiment: Make, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="none of 3 rounds gave a model"):
        simulate(
            experiment(secure_aggregation=REDONE, faults={"dropout": 0.95, "step": "input"}),
            out=tmp_path / "run",
        )


def test_without_privacy_a_failed_round_is_not_redone(experiment: Make, tmp_path: Path) -> None:
    with pytest.raises(AlreadyAnswered, match="redo_without_dp"):
        simulate(
            experiment(secure_aggregation=MASKED, faults={"dropout": 0.7, "step": "unmask"}),
            out=tmp_path / "run",
        )


def test_an_update_out_of_range_is_an_error_that_says_what_to_change(
    experiment: Make, tmp_path: Path
) -> None:
    secure = {**MASKED, "value_range": 1e-4}
    with pytest.raises(Exception, match="value_range"):
        simulate(experiment(secure_aggregation=secure), out=tmp_path / "run")


def test_a_sum_that_would_overflow_is_refused_before_training(experiment: Make, tmp_path: Path) -> None:
    secure = {**MASKED, "fractional_bits": 30}
    with pytest.raises(ConfigError, match="fractional_bits"):
        simulate(experiment(secure_aggregation=secure), out=tmp_path / "run")


def test_progress_is_told_of_every_round(experiment: Make, tmp_path: Path) -> None:
    told: list[RoundReport] = []

    class Watch(Silent):
        def round_done(self, report: RoundReport) -> None:
            told.append(report)

    simulate(experiment(), out=tmp_path / "run", progress=Watch())
    assert [report.round for report in told] == [1, 2, 3]


def test_a_run_whose_comparisons_are_broken_off_is_reported_without_them(
    experiment: Callable[..., Experiment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken_off(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    # The package's name for the module is the function's.
    module = importlib.import_module("fedlearn.simulation.simulate")
    monkeypatch.setattr(module, "baselines_of", broken_off)
    with pytest.raises(KeyboardInterrupt):
        simulate(experiment(rounds=1), out=tmp_path, workers=1)
    assert "not computed" in (tmp_path / "report.html").read_text("utf-8")
    assert Result.load(tmp_path).rounds == 1


def test_a_report_is_written_once(
    experiment: Callable[..., Experiment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages: list[Material] = []

    def noted(material: Material) -> str:
        pages.append(material)
        return report_page(material)

    monkeypatch.setattr("fedlearn.runs.finish.report_page", noted)
    simulate(experiment(rounds=1), out=tmp_path, workers=1)
    assert len(pages) == 1
