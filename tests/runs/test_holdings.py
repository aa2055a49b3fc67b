"""The data picture counts what a simulation deals out, and is read strictly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from fedlearn import simulate
from fedlearn.errors import RunDirectoryError
from fedlearn.experiment import Experiment
from fedlearn.experiment.virtual import VirtualClients
from fedlearn.runs.holdings import HOLDINGS_FILE, MOST_CLIENTS, Holdings, holdings_of


def an_experiment() -> Experiment:
    return Experiment.from_dict(
        {"data": {"dataset": "breast-cancer", "partition": {"kind": "iid", "clients": 3}}}
    )


def test_counts_are_those_of_the_records() -> None:
    population = an_experiment().population
    holdings = holdings_of(population)
    assert [row.client for row in holdings.clients] == list(population.names)
    for row in holdings.clients:
        data = population.clients[row.client]
        assert isinstance(data.train, TensorDataset)
        targets = data.train.tensors[1].numpy()
        assert row.train == len(targets)
        assert row.labels == {str(c): int(np.sum(targets == c)) for c in np.unique(targets)}
        assert isinstance(data.test, TensorDataset)
        assert row.test == len(data.test)


def test_targets_that_are_no_classes_are_not_counted() -> None:
    records = TensorDataset(torch.zeros(3, 2), torch.rand(3))
    clients = {"a": records}
    population = Experiment.from_dict({"model": {"arguments": {"classes": 2}}}, clients=clients).population
    (row,) = holdings_of(population).clients
    assert (row.train, row.test, row.labels) == (3, 0, None)


def test_of_very_many_clients_the_first_are_counted() -> None:
    def records(index: int) -> TensorDataset:
        return TensorDataset(torch.zeros(index + 1, 2), torch.zeros(index + 1, dtype=torch.int64))

    clients = VirtualClients(count=10**6, records=records, size=lambda index: index + 1)
    config = {"model": {"arguments": {"classes": 2}}, "data": {"declared_size": 1}}
    holdings = holdings_of(Experiment.from_dict(config, clients=clients).population)
    assert holdings.of == 10**6
    assert len(holdings.clients) == MOST_CLIENTS
    assert [row.train for row in holdings.clients[:3]] == [1, 2, 3]


def test_a_simulation_counts_and_says_so(tmp_path: Path) -> None:
    simulate(an_experiment(), out=tmp_path / "run", workers=1)
    assert Holdings.load(tmp_path / "run") is not None
    statement = json.loads((tmp_path / "run" / "privacy_statement.json").read_text())
    assert any(gap.startswith("who holds what") for gap in statement["not_covered"])


def test_holdings_are_read_back(tmp_path: Path) -> None:
    holdings = holdings_of(an_experiment().population)
    (tmp_path / HOLDINGS_FILE).write_text(holdings.model_dump_json())
    assert Holdings.load(tmp_path) == holdings


def test_a_run_without_them_has_none(tmp_path: Path) -> None:
    assert Holdings.load(tmp_path) is None


@pytest.mark.parametrize("text", ["{", '{"clients": [], "of": -1}', '{"clients": [{"client": 3}], "of": 1}'])
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / HOLDINGS_FILE).write_text(text)
    with pytest.raises(RunDirectoryError, match=r"holdings\.json cannot be read"):
        Holdings.load(tmp_path)
