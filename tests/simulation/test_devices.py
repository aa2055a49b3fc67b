"""Workers and their devices: each opens its own, after the fork."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedlearn.errors import ConfigError
from fedlearn.experiment import Experiment
from fedlearn.experiment.enrolment import Enrolment
from fedlearn.experiment.setup import RunSetup
from fedlearn.runs.execution import Execution
from fedlearn.runs.progress import Silent
from fedlearn.simulation import simulate
from fedlearn.simulation.engine import Engine
from fedlearn.simulation.flower import simulate_flower
from fedlearn.simulation.workers.memory import shared_array
from fedlearn.training import devices

Make = Callable[..., Experiment]


def trained(experiment: Experiment, workers: int | None) -> np.ndarray:
    enrolment = Enrolment.needed_by(experiment.config, experiment.population)
    setup = RunSetup(experiment=experiment, run="devices", roster=enrolment.roster)
    with Engine(setup, enrolment, workers=workers) as engine:
        execution = Execution(setup, engine, directory=None, progress=Silent(), strict=True)
        params: np.ndarray = execution.run(execution.begin()).state.params
    assert multiprocessing.active_children() == []
    return params


@pytest.fixture
def fake_gpus(monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Two GPUs that are the processor in truth; returns which of them was opened by which processes."""
    opened = shared_array((2, 8), np.int64)

    def open_one(name: str) -> torch.device:
        if name == "cpu":
            return torch.device(name)
        row, pid = opened[int(name.removeprefix("cuda:"))], os.getpid()
        if pid not in row:
            row[int(np.flatnonzero(row == 0)[0])] = pid
        return torch.device("cpu")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(devices, "opened", open_one)
    return opened


@pytest.mark.parametrize("per_gpu", [1, 2])
def test_each_worker_opens_its_own_gpu_after_the_fork(
    experiment: Make, fake_gpus: np.ndarray, per_gpu: int
) -> None:
    tables: dict[str, Any] = {"use": "auto", "clients_per_gpu": per_gpu}
    on_gpus = trained(experiment(devices=tables, rounds=2), workers=None)
    assert os.getpid() not in fake_gpus
    by_gpu = [set(row[row > 0].tolist()) for row in fake_gpus]
    assert [len(processes) for processes in by_gpu] == [per_gpu, per_gpu]
    assert not by_gpu[0] & by_gpu[1]
    np.testing.assert_array_equal(on_gpus, trained(experiment(rounds=2), workers=1))


def test_a_client_stays_on_one_gpu_so_that_one_alone_has_its_data(
    experiment: Make, fake_gpus: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = shared_array(1, np.int64)
    place = torch.device("cpu")

    def counted(dataset: Any, device: torch.device) -> Any:
        assert device == place
        copies[0] += 1
        return dataset

    monkeypatch.setattr("fedlearn.training.local.placed", counted)
    trained(experiment(devices={"use": "auto"}, rounds=4), workers=None)
    assert copies[0] == 5


def test_a_process_that_has_opened_a_gpu_forks_no_workers(
    experiment: Make, fake_gpus: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(ConfigError, match=r"opened a GPU already.*workers=1"):
        trained(experiment(devices={"use": "cuda:0"}), workers=2)
    trained(experiment(devices={"use": "cuda:0"}), workers=1)
    assert os.getpid() in fake_gpus


def test_a_gpu_that_is_not_there_is_one_line(experiment: Make, tmp_path: Path) -> None:
    if torch.cuda.device_count() > 100:
        pytest.skip("this machine has it")
    with pytest.raises(ConfigError, match=r"^devices\.use: cuda:101 is not there; this machine has cpu"):
        simulate(experiment(devices={"use": "cuda:101"}), out=tmp_path)


def test_on_flower_clients_train_on_the_processor(experiment: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="on Flower clients train on the CPU"):
        simulate_flower(experiment(devices={"use": "cuda:0"}), out=tmp_path)


def test_any_number_of_workers_gives_the_same_model_in_bfloat16(experiment: Make) -> None:
    made = [trained(experiment(devices={"precision": "bfloat16"}), workers=workers) for workers in (1, 2)]
    np.testing.assert_array_equal(made[0], made[1])
    assert np.any(made[0] != trained(experiment(), workers=1))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("per_gpu", [1, 2])
def test_a_gpu_gives_the_model_of_the_processor(experiment: Make, per_gpu: int) -> None:
    tables = {"use": "cuda:0", "clients_per_gpu": per_gpu}
    # Two workers per GPU at least, so that this process opens none and can fork again.
    on_gpu = trained(experiment(devices=tables), workers=2)
    np.testing.assert_allclose(on_gpu, trained(experiment(), workers=1), atol=1e-4)
