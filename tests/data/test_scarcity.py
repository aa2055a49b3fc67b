"""Scarcity on purpose: counts, and that nothing else changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedlearn.data.records import Records
from fedlearn.data.scarcity import few_labels, few_records, missing_features
from fedlearn.errors import ConfigError, DataError
from fedlearn.experiment import Experiment


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _records(count: int, features: int = 4) -> Records:
    """Records whose first feature and target are their number."""
    inputs = np.tile(np.arange(count, dtype=np.float32)[:, None], (1, features))
    return Records(inputs=inputs, targets=np.arange(count))


@settings(max_examples=30)
@given(count=st.integers(1, 30), seed=st.integers(0, 99), data=st.data())
def test_few_records_keeps_that_many_in_their_order(count: int, seed: int, data: st.DataObject) -> None:
    keep = data.draw(st.integers(1, count))
    kept = few_records(_records(count), keep=keep, client="a", rng=_rng(seed))
    assert len(kept) == keep
    assert (np.diff(kept.targets) > 0).all()
    np.testing.assert_array_equal(kept.inputs[:, 0], kept.targets)


def test_few_records_refuses_a_client_with_fewer() -> None:
    with pytest.raises(
        DataError, match="client 'b' has 11 training records, fewer than records_per_client=12"
    ):
        few_records(_records(11), keep=12, client="b", rng=_rng())


def test_few_records_keeps_at_least_one() -> None:
    with pytest.raises(ConfigError, match="records_per_client=0"):
        few_records(_records(3), keep=0, client="a", rng=_rng())


@pytest.mark.parametrize(("fraction", "labelled"), [(0.1, 3), (0.11, 4), (0.001, 1), (1.0, 30)])
def test_few_labels_keeps_the_share_rounded_up(fraction: float, labelled: int) -> None:
    kept, rest = few_labels(_records(30), fraction=fraction, rng=_rng())
    together = np.concatenate([kept.inputs, rest.inputs])
    assert np.array_equal(np.sort(together, axis=0), np.sort(_records(30).inputs, axis=0))
    assert len(kept) == labelled
    assert (np.diff(kept.targets) > 0).all()


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.1])
def test_few_labels_refuses_what_is_no_share(fraction: float) -> None:
    with pytest.raises(ConfigError, match="fraction"):
        few_labels(_records(3), fraction=fraction, rng=_rng())


def test_missing_features_are_the_same_for_all_records_and_leave_the_rest() -> None:
    records = _records(20, features=5)
    thinned = missing_features(records, fraction=0.5, rng=_rng(), fill=-1.0)
    lost = (thinned.inputs == -1.0).all(axis=0)
    assert lost.sum() == 2
    np.testing.assert_array_equal(thinned.inputs[:, ~lost], records.inputs[:, ~lost])
    assert (records.inputs >= 0).all()


def test_each_missing_feature_takes_its_own_filling() -> None:
    fill = np.arange(100.0, 105.0)
    thinned = missing_features(_records(3, features=5), fraction=0.9, rng=_rng(), fill=fill)
    lost = thinned.inputs[0] >= 100
    np.testing.assert_array_equal(thinned.inputs[0, lost], fill[lost])
    assert lost.sum() == 4


@pytest.mark.parametrize(
    "records",
    [
        Records(inputs=np.zeros((2, 1, 3, 3), np.float32), targets=np.zeros(2, np.int64)),
        Records(inputs=np.zeros((2, 5), np.int64), targets=np.zeros(2, np.int64)),
    ],
)
def test_images_and_texts_have_no_features_to_miss(records: Records) -> None:
    with pytest.raises(DataError, match=r"missing_features=0\.\d+ takes columns .* leave it out"):
        missing_features(records, fraction=0.5, rng=_rng())


class TestInAnExperiment:
    def _experiment(self, **scarcity: Any) -> Experiment:
        data = {"dataset": "breast-cancer", "partition": {"clients": 5}, "scarcity": scarcity}
        return Experiment.from_dict({"data": data, "model": {"name": "logistic"}})

    def test_training_records_become_few_and_held_out_ones_stay(self) -> None:
        plenty, scarce = self._experiment().population, self._experiment(records_per_client=7).population
        assert {client.size for client in scarce.clients.values()} == {7}
        assert {client.declared_size for client in scarce.clients.values()} == {7}
        for name, client in scarce.clients.items():
            assert len(client.test) == len(plenty.clients[name].test)  # type: ignore[arg-type]

    def test_unlabelled_records_are_left_out(self) -> None:
        plenty, scarce = self._experiment().population, self._experiment(labelled_fraction=0.1).population
        for name, client in scarce.clients.items():
            assert client.size == -(-plenty.clients[name].size // 10)

    def test_a_client_lacks_its_features_in_training_and_in_testing(self) -> None:
        clients = self._experiment(missing_features=0.5).population.clients
        lacking = []
        for client in clients.values():
            constant = [
                np.ptp(part.tensors[0].numpy(), axis=0) == 0  # type: ignore[union-attr]
                for part in (client.train, client.test)
            ]
            np.testing.assert_array_equal(*constant)
            lacking.append(tuple(constant[0]))
        assert len(set(lacking)) > 1
        assert {sum(lost) for lost in lacking} == {15}

    def test_nothing_is_scarce_by_default(self) -> None:
        everything = sum(client.size for client in self._experiment().population.clients.values())
        assert everything > 400
