"""Known numbers of the real data sets; those that are not committed are skipped where absent."""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from fedlearn.data.datasets.adult import adult
from fedlearn.data.datasets.breast_cancer import breast_cancer
from fedlearn.data.datasets.digits import digits
from fedlearn.data.datasets.fashion_mnist import _read_idx
from fedlearn.data.datasets.german_credit import german_credit
from fedlearn.data.datasets.heart_disease import heart_disease
from fedlearn.data.datasets.shakespeare import ALPHABET, roles, shakespeare
from fedlearn.data.datasets.wisdm import wisdm
from fedlearn.data.encode import indicators
from fedlearn.data.records import DataSet
from fedlearn.errors import ConfigError, DataError

DATA = Path(os.environ.get("FEDLEARN_DATA", Path(__file__).parents[3] / "shared" / "data"))


def _folder(name: str) -> Path:
    if not (DATA / name).is_dir():
        pytest.skip(f"{DATA / name} is absent; set FEDLEARN_DATA")
    return DATA / name


def _pooled_logistic(data_set: DataSet) -> np.ndarray:
    """Whether scikit-learn's logistic regression, fitted on the training part, is right on each record."""
    from sklearn.linear_model import LogisticRegression

    assert data_set.scale is not None
    inputs, records = data_set.scale.apply(data_set.records.inputs), data_set.records
    assert records.is_test is not None
    model = LogisticRegression(max_iter=500).fit(inputs[~records.is_test], records.targets[~records.is_test])
    right: np.ndarray = model.predict(inputs) == records.targets
    return right


def test_breast_cancer_counts_malignant_as_one() -> None:
    assert np.bincount(breast_cancer().records.targets).tolist() == [357, 212]


def test_breast_cancer_lies_in_its_published_range() -> None:
    """The table is rounded, so a value may pass the limit by a rounding error of its last digit."""
    loaded = breast_cancer()
    assert loaded.scale is not None
    assert np.abs(loaded.scale.apply(loaded.records.inputs)).max() < 2.05


def test_digits_are_ten_classes_of_pixels_in_the_unit_interval() -> None:
    loaded = digits()
    assert (loaded.records.inputs.min(), loaded.records.inputs.max()) == (0.0, 1.0)
    assert np.bincount(loaded.records.targets).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


@pytest.mark.data
class TestHeartDisease:
    def test_sizes_are_those_of_flamby(self) -> None:
        records = heart_disease(_folder("heart-disease")).records
        assert records.owners is not None
        assert records.is_test is not None
        sizes = {
            name: (
                int((~records.is_test & (records.owners == name)).sum()),
                int((records.is_test & (records.owners == name)).sum()),
            )
            for name in ("cleveland", "hungarian", "switzerland", "va")
        }
        assert sizes == {
            "cleveland": (199, 104), "hungarian": (172, 89), "switzerland": (30, 16), "va": (85, 45)
        }  # fmt: skip

    def test_first_patient_by_hand(self) -> None:
        """63,1,1,145,233,1,2,150,0,2.3,3,0,6,0: a man of 63, typical angina (level 1), ECG level 2."""
        records = heart_disease(_folder("heart-disease")).records
        wanted = [63, 1, 145, 233, 1, 150, 0, 2.3, 0, 0, 0, 0, 1]
        np.testing.assert_allclose(records.inputs[0], wanted, rtol=1e-6)
        assert records.targets[:3].tolist() == [0, 1, 1]

    def test_its_traps_are_there(self) -> None:
        records = heart_disease(_folder("heart-disease")).records
        assert records.owners is not None
        train, _ = records.take(records.owners == "switzerland").split()
        assert train.targets.min() == 1
        assert np.ptp(train.inputs[:, 3]) == 0.0

    def test_public_constants_serve_as_well_as_global_ones(self) -> None:
        """Mean of the four centres' test accuracy; about 80 to 81 with constants of all records."""
        loaded = heart_disease(_folder("heart-disease"))
        records, right = loaded.records, _pooled_logistic(loaded)
        assert records.owners is not None
        assert records.is_test is not None
        centres = [
            right[records.is_test & (records.owners == name)].mean() for name in np.unique(records.owners)
        ]
        assert np.mean(centres) == pytest.approx(0.80, abs=0.015)


@pytest.mark.data
class TestAdult:
    def test_sizes_classes_and_owners(self) -> None:
        records = adult(_folder("adult")).records
        assert records.is_test is not None
        assert records.owners is not None
        assert (int((~records.is_test).sum()), int(records.is_test.sum())) == (32_561, 16_281)
        assert np.bincount(records.targets[~records.is_test]).tolist() == [24_720, 7_841]
        assert len(np.unique(records.owners)) == 15
        assert "unknown" in records.owners

    def test_every_category_of_the_codebook_occurs_and_no_other(self) -> None:
        loaded = adult(_folder("adult"), owner="country")
        assert (loaded.records.inputs[:, 5:].sum(axis=0) > 0).all()
        sexes = loaded.records.inputs[:, 5 + 8 + 7 + 14 + 6 + 5 :][:, :2]
        assert (sexes.sum(axis=1) == 1).all()

    def test_logistic_regression_reaches_its_known_accuracy(self) -> None:
        loaded = adult(_folder("adult"))
        assert loaded.records.is_test is not None
        accuracy = _pooled_logistic(loaded)[loaded.records.is_test].mean()
        assert accuracy == pytest.approx(0.848, abs=0.005)

    def test_unpacked_originals_are_read_too(self, tmp_path: Path) -> None:
        line = (
            "39, State-gov, 77516, Bachelors, 13, Never-married, ?, Not-in-family, White, Male,"
            " 2174, 0, 40, United-States, <=50K"
        )
        (tmp_path / "adult.data").write_text(f"{line}\n\n")
        (tmp_path / "adult.test").write_text(f"|1x3 Cross validator\n{line.replace('<=', '>')}.\n")
        records = adult(tmp_path).records
        assert records.targets.tolist() == [0, 1]
        np.testing.assert_allclose(records.inputs[0, :5], [39, 13, np.log1p(2174), 0, 40], rtol=1e-6)
        assert records.owners is not None
        assert records.owners.tolist() == ["unknown", "unknown"]

    def test_another_owner_is_refused(self) -> None:
        with pytest.raises(DataError, match="owner='race' of adult must be one of occupation, country"):
            adult(None, owner="race")


@pytest.mark.data
def test_german_credit_counts_and_categories() -> None:
    loaded = german_credit(_folder("german-credit"))
    records = loaded.records
    assert np.bincount(records.targets).tolist() == [700, 300]
    # Thirteen categorical attributes: each record has exactly one level of each.
    assert (records.inputs[:, 7:].sum(axis=1) == 13).all()
    assert records.inputs[0, :7].tolist() == [6, 1169, 4, 4, 67, 2, 1]


@pytest.mark.data
def test_wisdm_imputes_only_missing_peak_times() -> None:
    loaded = wisdm(_folder("wisdm"))
    with np.load(DATA / "wisdm" / "wisdm_transformed.npz") as arrays:
        missing = np.isnan(arrays["X"])
    assert missing.sum(axis=0)[33:36].tolist() == [381, 131, 103]
    assert (loaded.records.inputs[missing] == 1000.0).all()
    assert loaded.records.owners is not None
    assert len(np.unique(loaded.records.owners)) == 36


@pytest.mark.data
class TestShakespeare:
    def test_windows_are_followed_by_their_target(self) -> None:
        loaded = shakespeare(_folder("shakespeare"), length=10, stride=1, min_characters=30_000)
        inputs, targets = loaded.records.inputs, loaded.records.targets
        np.testing.assert_array_equal(inputs[1, :-1], inputs[0, 1:])
        assert targets[0] == inputs[1, -1]

    def test_no_window_spans_training_and_test(self) -> None:
        loaded = shakespeare(_folder("shakespeare"), length=20, stride=20)
        records = loaded.records
        assert records.is_test is not None
        assert 0.1 < records.is_test.mean() < 0.3
        assert loaded.shape == (20,)

    def test_tokens_read_back_as_the_text(self) -> None:
        loaded = shakespeare(_folder("shakespeare"), length=12, stride=12)
        owners = loaded.records.owners
        assert owners is not None
        first = loaded.records.inputs[np.flatnonzero(owners == "First Citizen")[0]]
        assert "".join(ALPHABET[token] for token in first) == "Before we pr"

    def test_arguments_out_of_range_are_refused(self) -> None:
        with pytest.raises(ConfigError, match="stride=0"):
            shakespeare(None, stride=0)
        with pytest.raises(ConfigError, match=r"test_fraction=1\.0"):
            shakespeare(None, test_fraction=1.0)


def test_a_role_s_speeches_are_joined_in_order() -> None:
    text = "A:\nOne,\ntwo.\n\nB:\nThree: four.\n\nA:\nFive.\n"
    assert roles(text) == {"A": "One,\ntwo.\nFive.", "B": "Three: four."}


class TestIdx:
    def _written(self, path: Path, content: bytes) -> Path:
        path.write_bytes(gzip.compress(content))
        return path

    def test_reads_shape_and_values(self, tmp_path: Path) -> None:
        content = struct.pack(">4B2I", 0, 0, 8, 2, 2, 3) + bytes(range(6))
        assert _read_idx(self._written(tmp_path / "x.gz", content)).tolist() == [[0, 1, 2], [3, 4, 5]]

    @pytest.mark.parametrize(
        ("content", "named"),
        [
            (struct.pack(">4B2I", 0, 0, 8, 2, 2, 3) + bytes(5), "5 values for the shape"),
            (struct.pack(">4B2I", 0, 0, 9, 2, 2, 3) + bytes(6), "no idx file"),
            (b"", "no idx file"),
            (struct.pack(">4B", 0, 0, 8, 2), "no idx file"),
        ],
    )
    def test_refuses_what_it_is_not(self, tmp_path: Path, content: bytes, named: str) -> None:
        with pytest.raises(DataError, match=named):
            _read_idx(self._written(tmp_path / "x.gz", content))


def test_indicators_of_an_unknown_category_are_zero() -> None:
    assert indicators(np.array(["x", "a"]), ["a", "b"]).tolist() == [[0.0, 0.0], [1.0, 0.0]]
