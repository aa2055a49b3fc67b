"""What every registered data set must hold; a newly registered one is covered without a new test."""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from fedlearn.data import DATASETS
from fedlearn.data.records import DataSet
from fedlearn.errors import DataError

DATA = Path(os.environ.get("FEDLEARN_DATA", Path(__file__).parents[3] / "shared" / "data"))


@cache
def _load(name: str) -> DataSet | str:
    """The data set, or why it is not here."""
    try:
        loaded: DataSet = DATASETS.build(name, {}, folder=DATA)
    except DataError as error:
        return str(error)
    return loaded


@pytest.fixture(params=sorted(DATASETS))
def data_set(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> DataSet:
    def refuse(*_: object) -> NoReturn:
        raise AssertionError("a test must not use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    loaded = _load(request.param)
    if isinstance(loaded, str):
        pytest.skip(loaded)
    assert loaded.name == request.param
    return loaded


@pytest.mark.data
class TestEveryDataSet:
    def test_records_have_the_promised_shape_and_dtype(self, data_set: DataSet) -> None:
        records = data_set.records
        assert len(records) > 0
        assert records.inputs.shape == (len(records), *data_set.shape)
        assert records.inputs.dtype == (np.int64 if data_set.kind == "text" else np.float32)
        assert (len(data_set.shape) == 3) == (data_set.kind == "image")

    def test_every_value_is_finite(self, data_set: DataSet) -> None:
        assert np.isfinite(data_set.records.inputs).all()

    def test_targets_lie_in_range_and_more_than_one_class_occurs(self, data_set: DataSet) -> None:
        targets = data_set.records.targets
        assert targets.min() >= 0
        assert targets.max() < data_set.classes
        assert len(np.unique(targets)) > 1

    def test_held_out_part_and_owners_are_none_or_whole(self, data_set: DataSet) -> None:
        records = data_set.records
        if records.is_test is not None:
            assert 0 < records.is_test.sum() < len(records)
        if records.owners is not None:
            assert len(np.unique(records.owners)) > 1
            assert not (records.owners == "").any()
        train, test = records.split()
        assert len(train) + (0 if test is None else len(test)) == len(records)

    def test_public_constants_bring_features_to_order_one(self, data_set: DataSet) -> None:
        if data_set.scale is None:
            assert data_set.kind != "tabular"
            return
        scaled = data_set.scale.apply(data_set.records.inputs)
        assert scaled.shape == data_set.records.inputs.shape
        assert np.quantile(np.abs(scaled), 0.99) < 5.0

    def test_licence_and_source_are_stated(self, data_set: DataSet) -> None:
        assert data_set.licence
        assert data_set.source

    def test_loading_again_gives_the_same_records(self, data_set: DataSet) -> None:
        if data_set.name == "fashion-mnist":
            pytest.skip("two copies of 70,000 images take more memory than the answer is worth")
        again: DataSet = DATASETS.build(data_set.name, {}, folder=DATA)
        np.testing.assert_array_equal(again.records.inputs, data_set.records.inputs)
        np.testing.assert_array_equal(again.records.targets, data_set.records.targets)


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_an_empty_folder_says_what_to_set(name: str, tmp_path: Path) -> None:
    try:
        DATASETS.build(name, {}, folder=tmp_path)
    except DataError as error:
        assert "data.folder" in str(error)  # noqa: PT017  bundled sets load without any folder


def test_a_data_set_from_elsewhere_is_loaded_by_its_path() -> None:
    loaded = DATASETS.build("fedlearn.data.datasets.digits:digits", {}, folder=None)
    assert loaded.classes == 10
