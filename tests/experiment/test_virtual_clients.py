"""Clients that functions describe: their ids, their records, and that idle ones take no memory."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from fedlearn.errors import ConfigError, DataError
from fedlearn.experiment import Experiment
from fedlearn.experiment.enrolment import Enrolment
from fedlearn.experiment.setup import RunSetup
from fedlearn.experiment.virtual import Names, VirtualClients
from fedlearn.experiment.weights import weights
from fedlearn.runs.execution import Execution
from fedlearn.runs.progress import Silent
from fedlearn.simulation import simulate
from fedlearn.simulation.engine import Engine


def records(index: int) -> TensorDataset:
    draw = torch.Generator().manual_seed(index)
    inputs = torch.randn(8, 3, generator=draw)
    return TensorDataset(inputs, (inputs.sum(1) > 0).long())


def experiment(clients: Any, **sections: Any) -> Experiment:
    values: dict[str, Any] = {
        "rounds": 3,
        "training": {"learning_rate": 0.1, "batch_size": 4},
        "cohort": {"fraction": min(1.0, 10 / len(clients))},
        **sections,
    }
    return Experiment.from_dict(values, clients=clients, model=lambda: torch.nn.Linear(3, 2))


def test_ids_are_sorted_and_found_again() -> None:
    names = Names(1001)
    assert (names[0], names[1000], names[-1]) == ("client-0000", "client-1000", "client-1000")
    assert list(names) == sorted(names)
    assert all(names.index(name) == index for index, name in enumerate(names))
    for stranger in ("client-1001", "client-7", "client-\u0667777", "hospital", "client--001", 3):
        assert stranger not in names


def test_virtual_clients_give_the_model_of_the_same_clients_held(tmp_path: Path) -> None:
    virtual = VirtualClients(count=40, records=records, size=8)
    held = {name: records(index) for index, name in enumerate(virtual.names)}
    params = []
    for name, clients in (("virtual", virtual), ("held", held)):
        simulate(experiment(clients), out=tmp_path / name, workers=1)
        params.append((tmp_path / name / "model.safetensors").read_bytes())
    assert params[0] == params[1]


def test_sizes_by_index_are_the_weights() -> None:
    clients = VirtualClients(count=5, records=records, size=lambda index: index + 1)
    made = experiment(clients)
    assert dict(weights(made.config, made.population)) == {
        f"client-{index}": (index + 1) / 5 for index in range(5)
    }


def test_a_size_that_is_not_the_announced_one_is_refused(tmp_path: Path) -> None:
    clients = VirtualClients(count=10, records=records, size=9)
    with pytest.raises(DataError, match=r"client 'client-\d' has 8 records; 9 were announced"):
        simulate(experiment(clients), out=tmp_path / "run", workers=1)


def test_no_clients_are_refused() -> None:
    with pytest.raises(ConfigError, match="count=0"):
        VirtualClients(count=0, records=records, size=1)


@pytest.mark.parametrize("private", [False, True])
def test_memory_does_not_grow_with_the_population(private: bool) -> None:
    """A run over a million clients allocates no more than one over a thousand, to within 2 MB of 8 MB."""
    peaks = {}
    for count in (1_000, 1_000_000):
        clients = VirtualClients(count=count, records=records, size=8)
        privacy = {"enabled": private, "noise_multiplier": 1.0, "delta": 1e-3}
        made = experiment(clients, privacy=privacy, training={"sample_rate": 0.5})
        setup = RunSetup(experiment=made, run="run", roster=Enrolment.of({}).roster)
        gc.collect()
        tracemalloc.start()
        with Engine(setup, Enrolment.of({}), workers=1) as engine:
            execution = Execution(setup, engine, directory=None, progress=Silent(), strict=True)
            course = execution.run(execution.begin())
        peaks[count] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert course.completed == 3
        assert np.isfinite(course.state.params).all()
    room = 8 * 1_000_000 if private else 0  # one counter of charges for each client
    assert peaks[1_000_000] < peaks[1_000] + 2_000_000 + room
