"""``simulate(profile=True)``: where the time of a run went, in the run directory and in its report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedlearn.cli.main import main
from fedlearn.errors import RunDirectoryError
from fedlearn.experiment import Experiment
from fedlearn.runs.profile import Profile
from fedlearn.simulation import simulate
from fedlearn.simulation.engine import one_thread

Make = Callable[..., Experiment]
PRIVATE = {"enabled": True, "epsilon": 3.0, "delta": 1e-3}
MASKED = {"enabled": True, "mode": "masked"}


def profiled(experiment: Experiment, out: Path, workers: int) -> Profile:
    simulate(experiment, out=out, workers=workers, profile=True)
    profile = Profile.load(out)
    assert profile is not None
    return profile


@pytest.mark.parametrize("workers", [1, 2])
def test_the_phases_of_a_process_add_up_to_its_time(experiment: Make, tmp_path: Path, workers: int) -> None:
    made = experiment(privacy=PRIVATE, secure_aggregation=MASKED)
    profile = profiled(made, tmp_path, workers)
    main_process, *others = profile.processes
    # A thousandth of a second: what passes between two looks at the clock.
    assert profile.wall - 1e-3 <= main_process.total + 1e-3 <= profile.wall + 2e-3
    assert [process.process for process in others] == [f"worker {n}" for n in range(workers)][: len(others)]
    assert len(others) == (0 if workers == 1 else workers)
    for process in others:
        assert 0 < process.total < profile.wall
    total = profile.total.seconds
    for name in ("data", "training", "clipping", "noise", "masking", "evaluation", "other"):
        assert total[name] > 0, name
    assert (total["waiting"] > 0) == (workers > 1)


def test_adding_up_is_counted_where_it_is_done(experiment: Make, tmp_path: Path) -> None:
    main_process, *workers = profiled(experiment(), tmp_path, 2).processes
    assert main_process.seconds["training"] == 0.0
    assert main_process.seconds["aggregation"] > 0
    assert all(worker.seconds["aggregation"] > 0 for worker in workers)


def test_the_result_is_the_same(experiment: Make, tmp_path: Path) -> None:
    models = []
    for profile in (False, True):
        simulate(experiment(), out=tmp_path / str(profile), workers=1, profile=profile)
        models.append((tmp_path / str(profile) / "model.safetensors").read_bytes())
    assert models[0] == models[1]
    assert Profile.load(tmp_path / "False") is None


def test_the_report_shows_a_row_and_a_bar_for_each_process(experiment: Make, tmp_path: Path) -> None:
    profile = profiled(experiment(), tmp_path, 2)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "Where the time went" in page
    assert page.count("<rect") >= len(profile.processes) * len(profile.phases)
    for process in (*profile.processes, profile.total):
        assert f'<th scope="row">{process.process}</th>' in page


def test_a_run_without_a_profile_replaces_the_one_before(experiment: Make, tmp_path: Path) -> None:
    profiled(experiment(), tmp_path, 1)
    simulate(experiment(), out=tmp_path, workers=1)
    assert Profile.load(tmp_path) is None
    assert "Where the time went" not in (tmp_path / "report.html").read_text("utf-8")


@pytest.mark.parametrize(
    "text", ["{", '{"wall": -1, "processes": []}', '{"wall": 1, "processes": [], "x": 1}']
)
def test_a_broken_profile_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "profile.json").write_text(text)
    with pytest.raises(RunDirectoryError, match=r"profile\.json cannot be read"):
        Profile.load(tmp_path)


def test_the_command_prints_a_table(
    experiment: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "small.toml"
    file.write_text(experiment().to_toml())
    arguments: list[Any] = [
        "simulate",
        str(file),
        "--out",
        str(tmp_path / "run"),
        "--profile",
        "--workers",
        "1",
    ]
    with one_thread():
        assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "where the time went" in printed
    assert json.loads((tmp_path / "run" / "profile.json").read_text())["wall"] > 0


def test_on_flower_there_is_none(
    experiment: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "small.toml"
    file.write_text(experiment().to_toml())
    assert main(["simulate", str(file), "--engine", "flower", "--profile"]) != 0
    assert "--profile is of the in-process engine" in capsys.readouterr().err
