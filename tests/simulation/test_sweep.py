"""A sweep: its grid, what it runs again and what it does not, and what a failure leaves."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedlearn.cli.main import main
from fedlearn.errors import ConfigError
from fedlearn.experiment import Experiment
from fedlearn.rounds.checkpoint import Checkpoint
from fedlearn.runs.comparison import Group, comparison_lines
from fedlearn.runs.result import Baselines
from fedlearn.runs.run import PENDING
from fedlearn.runs.summary import absent
from fedlearn.simulation import simulate
from fedlearn.simulation import sweep as module_under_test
from fedlearn.simulation.sweep import Axis, Outcome, cells, sweep

EXPERIMENT = """
name = "tiny"
rounds = 2
[data]
dataset = "breast-cancer"
partition = { clients = 3 }
[model]
name = "logistic"
[training]
local_steps = 1
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(EXPERIMENT)
    return path


def rates(*values: str) -> list[Axis]:
    return [Axis(key="training.learning_rate", values=values)]


@given(st.lists(st.text(alphabet="ab01.-", min_size=1), min_size=1, max_size=5, unique=True))
def test_plain_values_are_parted_at_commas(values: list[str]) -> None:
    assert Axis.parse(f"key={','.join(values)}").values == tuple(values)


def test_commas_in_brackets_braces_and_quotes_do_not_part() -> None:
    assert Axis.parse("k=[1,2],{a=1,b=2},'x,y',3").values == ("[1,2]", "{a=1,b=2}", "'x,y'", "3")


@pytest.mark.parametrize("text", ["rounds", "=1", "rounds=", "rounds=1,,2", "rounds=1,1"])
def test_what_is_no_axis_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="grid"):
        Axis.parse(text)


def test_every_combination_is_one_cell_per_seed(file: Path) -> None:
    axes = [*rates("0.1", "0.2"), Axis(key="rounds", values=("1", "2", "3"))]
    found = cells(file, axes, seeds=2)
    assert len(found) == 12
    assert len({cell.folder for cell in found}) == 12
    assert [cell.seed for cell in found[:2]] == [0, 1]


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ([Axis(key="training.learnin_rate", values=("1",))], "Did you mean 'learning_rate'"),
        ([Axis(key="seed", values=("1",))], "seeds by --seeds"),
        (rates("1") * 2, "each key once"),
    ],
)
def test_a_mistake_in_the_grid_is_found_before_anything_runs(
    file: Path, axes: list[Axis], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        cells(file, axes, seeds=1)


def test_finished_cells_are_not_run_again(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "sweep"
    first = sweep(cells(file, rates("0.1"), seeds=2), out=out)
    ran: list[Path] = []

    def counted(experiment: Experiment, *, out: Path, resume: bool) -> None:
        ran.append(out)
        simulate(experiment, out=out, resume=resume)

    monkeypatch.setattr(module_under_test, "simulate", counted)
    again = sweep(cells(file, rates("0.1", "0.2"), seeds=2), out=out)
    assert len(ran) == 2
    finals = [outcome.result.final for outcome in again[:2] if outcome.result]
    assert finals == [outcome.result.final for outcome in first if outcome.result]


@pytest.mark.engine
def test_processes_give_what_one_process_gives(file: Path, tmp_path: Path) -> None:
    wanted = cells(file, rates("0.1", "0.2"), seeds=1)
    alone = sweep(wanted, out=tmp_path / "alone")
    together = sweep(wanted, out=tmp_path / "together", jobs=2)
    assert [o.result.final for o in alone if o.result] == [o.result.final for o in together if o.result]


def test_a_failed_cell_leaves_the_others_and_the_exit_code_tells(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sweep"
    grid = "data.partition.clients=3,100000"
    assert main(["sweep", str(file), "--grid", grid, "--out", str(out), "--json"]) == 7
    printed = capsys.readouterr()
    good, bad = json.loads(printed.out)
    assert good["final"]["accuracy"] > 0.5
    assert good["error"] is None
    assert bad["final"] is None
    assert "DataError" in bad["error"]
    assert "1 of 2 runs failed; data.partition.clients=100000, seed=0" in printed.err
    assert json.loads((out / "sweep.json").read_text()) == [good, bad]


def test_the_table_has_median_and_range_over_seeds(file: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    def observe(outcome: Outcome, done: int, of: int) -> None:
        seen.append((done, of))

    outcomes = sweep(cells(file, rates("0.5"), seeds=3), out=tmp_path, observe=observe)
    group = Group(
        label={"training.learning_rate": "0.5"}, results=[o.result for o in outcomes if o.result is not None]
    )
    head, _, row = comparison_lines([group])
    values = sorted(o.result.final["accuracy"] or 0.0 for o in outcomes if o.result)
    assert head.startswith("| training.learning_rate | accuracy |")
    assert f"| 0.5 | {values[1]:.3f} ({values[0]:.3f} – {values[2]:.3f}) |" in row
    assert row.endswith("| – | – | – | – | 3 |")
    assert seen == [(1, 3), (2, 3), (3, 3)]


def killed_sweep(file: Path, out: Path, saves: int) -> None:
    """Sweeps until a checkpoint has been saved so many times, then kills its own process."""
    save, saved = Checkpoint.save, 0

    def counted(self: Checkpoint, path: Path) -> None:
        nonlocal saved
        save(self, path)
        saved += 1
        if saved == saves:
            os.kill(os.getpid(), signal.SIGKILL)

    Checkpoint.save = counted  # type: ignore[method-assign]  # in a process that ends here
    sweep(cells(file, rates("0.1", "0.2"), seeds=2), out=out)


def test_a_killed_sweep_goes_on_and_loses_nothing(file: Path, tmp_path: Path) -> None:
    wanted = cells(file, rates("0.1", "0.2"), seeds=2)
    undisturbed = [o.result.final for o in sweep(wanted, out=tmp_path / "undisturbed") if o.result]
    out = tmp_path / "killed"
    kept: dict[Path, int] = {}
    for saves in (1, 3, 2):
        process = multiprocessing.get_context("fork").Process(target=killed_sweep, args=(file, out, saves))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        finished = {path: path.stat().st_mtime_ns for path in out.glob("*/result.json")}
        assert kept.items() <= finished.items()
        kept = finished
    assert 0 < len(kept) < len(wanted)
    again = sweep(wanted, out=out)
    assert [o.result.final for o in again if o.result] == undisturbed
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_a_cell_without_its_baselines_is_not_finished(file: Path, tmp_path: Path) -> None:
    wanted = cells(file, [], seeds=1, settings=["baselines.local=true"])
    (first,) = sweep(wanted, out=tmp_path)
    assert first.result is not None
    cut = absent(PENDING)
    baselines = Baselines(local=cut, unprotected=cut, pooled=cut)
    path = tmp_path / wanted[0].folder / "result.json"
    path.write_text(first.result.model_copy(update={"baselines": baselines}).to_json())
    (again,) = sweep(wanted, out=tmp_path)
    assert again.result is not None
    assert again.result.baselines.local.metrics == first.result.baselines.local.metrics


def test_the_page_draws_the_curve_and_names_what_failed(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sweep"
    grid = "data.partition.clients=2,3,100000"
    assert main(["sweep", str(file), "--grid", grid, "--seeds", "2", "--out", str(out)]) == 7
    assert str(out / "sweep.html") in capsys.readouterr().out
    html = (out / "sweep.html").read_text()
    assert "Accuracy against data.partition.clients" in html
    assert "data.partition.clients=100000, seed=1: DataError" in html
    assert f"--grid {grid} --seeds 2" in html


@pytest.mark.parametrize(("argument", "value"), [("seeds", 0), ("jobs", 0)])
def test_counts_below_one_are_refused(
    file: Path, tmp_path: Path, argument: str, value: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", str(file), f"--{argument}", str(value), "--out", str(tmp_path / "s")]) == 2
    assert f"{argument}=0 must be at least 1" in capsys.readouterr().err
