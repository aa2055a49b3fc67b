"""Runs over several worker processes: the same model, the same errors, and nothing left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor
from torch.utils.data import Dataset

from fedlearn.errors import BudgetExhausted, ConfigError, ModelError, RunError, RunInterrupted, WorkerLost
from fedlearn.experiment import Experiment
from fedlearn.experiment.enrolment import Enrolment
from fedlearn.experiment.setup import RunSetup
from fedlearn.runs.execution import Execution
from fedlearn.runs.progress import Silent
from fedlearn.runs.result import Result
from fedlearn.simulation import engine as engine_module
from fedlearn.simulation import simulate
from fedlearn.simulation.engine import Engine

Make = Callable[..., Experiment]
PRIVATE = {"enabled": True, "epsilon": 3.0, "delta": 1e-3}
SECURE = {
    "clear": {"enabled": False},
    "ideal": {"enabled": True, "mode": "ideal"},
    "masked": {"enabled": True, "mode": "masked", "redo_without_dp": True},
}
FIVE = {
    "dataset": "breast-cancer",
    "partition": {"kind": "quantity-skew", "clients": 5, "arguments": {"ratio": 4.0}},
}


def model_of(directory: Path) -> np.ndarray:
    arrays = load_file(directory / "model.safetensors")
    return np.concatenate([arrays[name].ravel() for name in sorted(arrays)])


@pytest.fixture(autouse=True)
def nobody_is_left() -> Any:
    yield
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("mode", SECURE)
def test_any_number_of_workers_gives_the_same_model(experiment: Make, tmp_path: Path, mode: str) -> None:
    sections = {
        "data": FIVE,
        "training": {"learning_rate": 0.1, "sample_rate": 0.2, "local_steps": 3},
        "secure_aggregation": SECURE[mode],
        "privacy": {"enabled": mode == "ideal", "noise_multiplier": 1.0, "delta": 1e-3},
        "reproducible_noise": True,
    }
    for workers in (1, 2, 4):
        simulate(experiment(**sections), out=tmp_path / str(workers), workers=workers)
    for workers in (2, 4):
        np.testing.assert_array_equal(model_of(tmp_path / "1"), model_of(tmp_path / str(workers)))
        assert Result.load(tmp_path / "1").privacy == Result.load(tmp_path / str(workers)).privacy


def test_sums_that_share_their_noise_are_the_same_to_the_last_bit(experiment: Make, tmp_path: Path) -> None:
    """Their grid is so fine that they show a rounding which a client's own noise hides."""
    sections = {
        "data": {"dataset": "breast-cancer", "partition": {"clients": 5}},
        "model": {"name": "logistic"},
        "rounds": 1,
        "training": {"learning_rate": 0.1, "local_steps": 1},
        "secure_aggregation": SECURE["ideal"],
        "privacy": {**PRIVATE, "noise": "distributed"},
        "reproducible_noise": True,
    }
    for workers in (1, 2):
        simulate(experiment(**sections), out=tmp_path / str(workers), workers=workers)
    np.testing.assert_array_equal(model_of(tmp_path / "1"), model_of(tmp_path / "2"))


def test_an_aggregator_that_compares_updates_sees_each_of_them(experiment: Make, tmp_path: Path) -> None:
    for workers in (1, 3):
        simulate(
            experiment(data=FIVE, aggregation={"name": "median"}),
            out=tmp_path / str(workers),
            workers=workers,
        )
    np.testing.assert_array_equal(model_of(tmp_path / "1"), model_of(tmp_path / "3"))


@pytest.mark.parametrize("mode", SECURE)
def test_dropouts_are_the_same_with_workers(experiment: Make, tmp_path: Path, mode: str) -> None:
    sections = {
        "rounds": 6,
        "secure_aggregation": SECURE[mode],
        "faults": {"dropout": 0.15},
        "reproducible_noise": True,
    }
    for workers in (1, 2):
        simulate(experiment(**sections), out=tmp_path / str(workers), workers=workers)
    np.testing.assert_array_equal(model_of(tmp_path / "1"), model_of(tmp_path / "2"))


def test_bytes_are_counted_as_if_every_update_had_travelled(experiment: Make, tmp_path: Path) -> None:
    lines = []
    for workers in (1, 2):
        simulate(experiment(), out=tmp_path / str(workers), workers=workers)
        text = (tmp_path / str(workers) / "rounds.jsonl").read_text()
        lines.append([line.split('"seconds"')[0] for line in text.splitlines()])
    assert lines[0] == lines[1]


def test_a_budget_holds_whichever_worker_trains(experiment: Make) -> None:
    small = experiment(privacy=PRIVATE)
    enrolment = Enrolment.of(small.population.clients)
    setup = RunSetup(experiment=small, run="small-0", roster=enrolment.roster)
    with Engine(setup, enrolment, workers=2) as engine:
        execution = Execution(setup, engine, directory=None, progress=Silent(), strict=True)
        course = execution.run(execution.begin())
        for name, client in engine.clients.items():
            assert client.releases.account().events == course.accounts[name].events
        with pytest.raises(BudgetExhausted, match=r"of 3 at δ 0\.001"):
            execution.run(execution.begin())


def test_workers_take_over_once_rounds_take_long(
    experiment: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "_WORTH_FORKING", 0.0)
    monkeypatch.setattr(engine_module, "cores", lambda: 2)
    sections = {"secure_aggregation": SECURE["masked"], "privacy": PRIVATE, "reproducible_noise": True}
    simulate(experiment(**sections), out=tmp_path / "later")
    simulate(experiment(**sections), out=tmp_path / "one", workers=1)
    np.testing.assert_array_equal(model_of(tmp_path / "later"), model_of(tmp_path / "one"))


class Records(Dataset[tuple[Tensor, ...]]):
    """Records that cannot be pickled, as an open file or a database connection cannot."""

    def __init__(self, seed: int, fault: Callable[[], None] = lambda: None) -> None:
        self._values = torch.randn(6, 4, generator=torch.Generator().manual_seed(seed))
        self._fault = fault

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        self._fault()
        return self._values[index], torch.tensor(index % 2)

    def __reduce__(self) -> str:
        raise TypeError("this data set cannot be pickled")


def own(clients: dict[str, Records], **sections: Any) -> Experiment:
    values: dict[str, Any] = {"name": "own", "rounds": 3, "training": {"batch_size": 3}, **sections}
    return Experiment.from_dict(values, clients=clients, model=lambda: torch.nn.Linear(4, 2))


def test_data_that_cannot_be_pickled_reaches_the_workers(tmp_path: Path) -> None:
    for workers in (1, 2):
        simulate(own({f"c{i}": Records(i) for i in range(4)}), out=tmp_path / str(workers), workers=workers)
    np.testing.assert_array_equal(model_of(tmp_path / "1"), model_of(tmp_path / "2"))


def kill_self() -> None:
    if multiprocessing.parent_process() is not None:
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_is_killed_is_named_with_its_client_and_the_run_goes_on(tmp_path: Path) -> None:
    healthy = {f"c{i}": Records(i) for i in range(4)}
    with pytest.raises(RunInterrupted):
        simulate(own(healthy), out=tmp_path / "run", workers=2, progress=InterruptedIn(1))
    with pytest.raises(WorkerLost, match=r"SIGKILL while it served client 'c2'.*--resume"):
        simulate(own({**healthy, "c2": Records(2, kill_self)}), out=tmp_path / "run", workers=2, resume=True)
    simulate(own(healthy), out=tmp_path / "run", workers=2, resume=True)
    simulate(own(healthy), out=tmp_path / "whole", workers=1)
    np.testing.assert_array_equal(model_of(tmp_path / "run"), model_of(tmp_path / "whole"))


def fail() -> None:
    raise OSError("the disk is gone")


def test_an_error_in_own_code_names_the_client_and_shows_where(tmp_path: Path) -> None:
    clients = {"c0": Records(0), "c1": Records(1, fail), "c2": Records(2)}
    with pytest.raises(RunError, match="client 'c1': OSError: the disk is gone") as caught:
        simulate(own(clients), out=tmp_path / "run", workers=2)
    assert "in fail" in str(caught.value.__cause__)


def test_a_client_s_error_keeps_its_kind(experiment: Make, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="diverged"):
        simulate(experiment(training={"learning_rate": 1e38}), out=tmp_path / "run", workers=2)


class InterruptedIn(Silent):
    def __init__(self, round: int) -> None:
        self._round = round

    def client_done(self, round: int, done: int, cohort: int) -> None:
        if round == self._round and done == 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize("mode", SECURE)
def test_an_interrupted_run_is_resumed_with_another_number_of_workers(
    experiment: Make, tmp_path: Path, mode: str
) -> None:
    sections = {
        "secure_aggregation": SECURE[mode],
        "privacy": PRIVATE,
        "reproducible_noise": True,
        "algorithm": {"name": "fedadam"},
    }
    simulate(experiment(**sections), out=tmp_path / "whole", workers=1)
    with pytest.raises(RunInterrupted, match="1 of 3 rounds are kept"):
        simulate(experiment(**sections), out=tmp_path / "cut", workers=3, progress=InterruptedIn(1))
    simulate(experiment(**sections), out=tmp_path / "cut", workers=2, resume=True)
    np.testing.assert_array_equal(model_of(tmp_path / "cut"), model_of(tmp_path / "whole"))


def test_no_workers_at_all_are_refused(experiment: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="workers=0 must be at least 1"):
        simulate(experiment(), out=tmp_path / "run", workers=0)
