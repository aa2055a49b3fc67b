"""Records, data sets and the checks on a client's records."""

from __future__ import annotations

import numpy as np
import pytest

from fedlearn.data.checks import check_finite, check_records, check_targets
from fedlearn.data.records import DataSet, Records
from fedlearn.errors import DataError


def _records(targets: list[int], **columns: object) -> Records:
    inputs = np.arange(2 * len(targets), dtype=np.float32).reshape(-1, 2)
    return Records(inputs=inputs, targets=np.array(targets, np.int64), **columns)  # type: ignore[arg-type]


class TestRecords:
    def test_take_keeps_columns_together(self) -> None:
        records = _records([0, 1, 2], owners=np.array(["a", "b", "c"]), is_test=np.array([True, False, True]))
        taken = records.take(np.array([2, 0]))
        assert taken.inputs.tolist() == [[4.0, 5.0], [0.0, 1.0]]
        assert taken.targets.tolist() == [2, 0]
        assert taken.owners is not None
        assert taken.owners.tolist() == ["c", "a"]
        assert len(taken) == 2

    def test_split_by_the_data_set_s_own_test_part(self) -> None:
        train, test = _records([0, 1, 2], is_test=np.array([False, True, False])).split()
        assert test is not None
        assert (train.targets.tolist(), test.targets.tolist()) == ([0, 2], [1])

    def test_split_without_one(self) -> None:
        records = _records([0, 1])
        assert records.split() == (records, None)

    @pytest.mark.parametrize(
        ("columns", "named"),
        [
            ({"owners": np.array(["a"])}, "owners has 1 entries"),
            ({"is_test": np.ones(3, bool)}, "is_test has 3"),
        ],
    )
    def test_columns_of_another_length_are_refused(self, columns: dict[str, object], named: str) -> None:
        with pytest.raises(DataError, match=named):
            _records([0, 1], **columns)

    def test_other_dtypes_are_refused(self) -> None:
        with pytest.raises(DataError, match="inputs are float64"):
            Records(inputs=np.zeros((1, 1)), targets=np.zeros(1, np.int64))
        with pytest.raises(DataError, match="targets are int32"):
            Records(inputs=np.zeros((1, 1), np.float32), targets=np.zeros(1, np.int32))


class TestDataSet:
    def _built(self, **changes: object) -> DataSet:
        arguments: dict[str, object] = {
            "name": "toy", "records": _records([0, 1]), "classes": 2, "shape": (2,), "kind": "tabular",
            "licence": "none", "source": "made up",
        }  # fmt: skip
        return DataSet(**{**arguments, **changes})  # type: ignore[arg-type]

    def test_says_what_does_not_fit(self) -> None:
        assert self._built().classes == 2
        with pytest.raises(DataError, match=r"toy: records have shape \(2,\), not shape=\(3,\)"):
            self._built(shape=(3,))
        with pytest.raises(DataError, match=r"toy: targets lie in \[0, 1\], not in \[0, 0\]"):
            self._built(classes=1)

    def test_tokens_lie_in_the_vocabulary(self) -> None:
        tokens = Records(inputs=np.array([[0, 9]]), targets=np.zeros(1, np.int64))
        assert self._built(records=tokens, vocabulary=10).vocabulary == 10
        with pytest.raises(DataError, match=r"tokens lie in \[0, 9\], not in \[0, 8\]"):
            self._built(records=tokens, vocabulary=9)


class TestChecks:
    def test_a_target_out_of_range_is_named_with_its_bound(self) -> None:
        message = r"client 'va': target 7 of record 1 \(2 of 3 records\) is not in \[0, 1\]"
        with pytest.raises(DataError, match=message):
            check_targets(np.array([0, 7, -1]), classes=2, client="va")
        check_targets(np.array([0, 1]), classes=2, client="va")

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_broken_records_are_counted(self, bad: float) -> None:
        inputs = np.zeros((4, 1, 2, 2), np.float32)
        inputs[1, 0, 0, 1] = inputs[1, 0, 1, 1] = inputs[3, 0, 0, 0] = bad
        with pytest.raises(DataError, match=r"client 'va': 2 of 4 records .* first is record 1"):
            check_finite(inputs, client="va")

    def test_tokens_are_finite(self) -> None:
        check_finite(np.zeros((2, 3), np.int64), client="va")

    def test_no_record_is_an_error(self) -> None:
        with pytest.raises(DataError, match="client 'va': 0 records"):
            check_records(_records([0]).take(np.array([], np.int64)), client="va", classes=2)

    def test_what_training_survives_is_found(self) -> None:
        found = check_records(_records([1, 1]), client="va", classes=2, batch_size=3)
        assert [str(finding) for finding in found] == [
            "client 'va': all 2 records have target 1: its update pulls to that class",
            "client 'va': 2 records are fewer than batch_size=3: one smaller batch",
        ]

    def test_strict_makes_it_an_error(self) -> None:
        with pytest.raises(DataError, match="all 2 records have target 1"):
            check_records(_records([1, 1]), client="va", classes=2, strict=True)

    def test_sound_records_have_no_finding(self) -> None:
        assert check_records(_records([0, 1]), client="va", classes=2, batch_size=2, strict=True) == ()
