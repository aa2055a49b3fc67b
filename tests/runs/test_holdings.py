"""The data picture counts what a simulation deals out, and is read strictly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from fedlearn.errors import RunDirectoryError
from fedlearn.experiment import Experiment
from fedlearn.runs.holdings import HOLDINGS_FILE, Holdings, holdings_of


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
