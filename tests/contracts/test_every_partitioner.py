"""What every registered partitioner must hold; a newly registered one is covered without a new test."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedlearn.data import PARTITIONERS
from fedlearn.data.partition import client_names, partition
from fedlearn.data.records import Records
from fedlearn.errors import DataError

Parts = list[NDArray[np.int64]]

RECORDS = 240


def _labels(seed: int = 0, records: int = RECORDS, classes: int = 4) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(classes, size=records)


def _owners(labels: NDArray[np.int64]) -> NDArray[np.str_]:
    return np.array([f"owner-{i % 12:02d}" for i in range(len(labels))])


def _run(name: str, labels: NDArray[np.int64], clients: int, seed: int = 0) -> Parts:
    part = PARTITIONERS.resolve(name)
    given: dict[str, Any] = {"labels": labels, "clients": clients, "rng": np.random.default_rng(seed)}
    if "owners" in inspect.signature(part).parameters:
        given["owners"] = _owners(labels)
    parts: Parts = PARTITIONERS.build(name, {}, **given)
    return parts


@pytest.mark.parametrize("name", sorted(PARTITIONERS))
class TestEveryPartitioner:
    @settings(max_examples=25)
    @given(clients=st.integers(1, 8), seed=st.integers(0, 10_000), classes=st.integers(1, 6))
    def test_is_disjoint_and_complete_with_no_client_empty(
        self, name: str, clients: int, seed: int, classes: int
    ) -> None:
        labels = _labels(seed, classes=classes)
        parts = _run(name, labels, clients, seed)
        assert len(parts) == clients
        assert all(part.dtype == np.int64 and part.ndim == 1 and len(part) > 0 for part in parts)
        np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(labels)))

    def test_same_seed_gives_the_same_partition(self, name: str) -> None:
        for one, other in zip(_run(name, _labels(), 5, 3), _run(name, _labels(), 5, 3), strict=True):
            np.testing.assert_array_equal(one, other)

    def test_another_seed_gives_another_partition(self, name: str) -> None:
        one, other = _run(name, _labels(), 5, 3), _run(name, _labels(), 5, 4)
        assert any(not np.array_equal(a, b) for a, b in zip(one, other, strict=True))

    def test_leaves_the_global_generator_and_the_labels_alone(self, name: str) -> None:
        labels = _labels()
        before = np.random.get_state()[1].copy()  # type: ignore[index]  # noqa: NPY002
        _run(name, labels, 4)
        np.testing.assert_array_equal(before, np.random.get_state()[1])  # type: ignore[index]  # noqa: NPY002
        np.testing.assert_array_equal(labels, _labels())

    def test_too_few_records_are_refused(self, name: str) -> None:
        with pytest.raises(DataError, match="too few"):
            _run(name, _labels(records=3), 10)

    def test_clients_get_their_names(self, name: str) -> None:
        labels = _labels()
        records = Records(
            inputs=np.zeros((len(labels), 1), np.float32), targets=labels, owners=_owners(labels)
        )
        parts = partition(records, kind=name, clients=5, rng=np.random.default_rng(0), arguments={})
        assert list(parts) == client_names(5)


def _all_to_the_first(
    labels: NDArray[np.int64], clients: int, *, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    del rng
    return [np.arange(len(labels)), *(np.empty(0, np.int64) for _ in range(clients - 1))]


def test_a_partitioner_from_elsewhere_is_run_by_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    records = Records(inputs=np.zeros((9, 1), np.float32), targets=np.zeros(9, np.int64))
    kind = "fedlearn.data.partitions.iid:iid"
    parts = partition(records, kind=kind, clients=3, rng=np.random.default_rng(0), arguments={})
    assert [len(part) for part in parts.values()] == [3, 3, 3]
    monkeypatch.setattr("fedlearn.data.partitions.iid.iid", _all_to_the_first)
    with pytest.raises(DataError, match="client 1 has 0 records"):
        partition(records, kind=kind, clients=3, rng=np.random.default_rng(0), arguments={})
