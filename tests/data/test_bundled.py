"""scikit-learn's tables, read from its folder: what scikit-learn itself reads there."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits

from fedlearn.data.datasets.breast_cancer import breast_cancer
from fedlearn.data.datasets.bundled import bundled_table
from fedlearn.data.datasets.digits import digits
from fedlearn.errors import DataError


def test_breast_cancer_is_scikit_learn_s_with_malignant_as_class_one() -> None:
    bunch, records = load_breast_cancer(), breast_cancer().records
    np.testing.assert_array_equal(records.inputs, bunch.data.astype(np.float32))
    np.testing.assert_array_equal(records.targets, 1 - bunch.target)
    assert breast_cancer().features == tuple(bunch.feature_names)


def test_digits_are_scikit_learn_s() -> None:
    bunch, records = load_digits(), digits().records
    np.testing.assert_array_equal(records.inputs, (bunch.images[:, None] / 16.0).astype(np.float32))
    np.testing.assert_array_equal(records.targets, bunch.target)


def test_a_table_that_is_not_there_is_named() -> None:
    with pytest.raises(DataError, match=r"whales\.csv cannot be read.*install scikit-learn"):
        bundled_table("whales.csv")


def test_an_experiment_on_bundled_data_does_not_load_scikit_learn() -> None:
    code = (
        "import sys; from fedlearn.experiment import Experiment;"
        "e = Experiment.from_dict({'data': {'dataset': 'breast-cancer', 'partition': {'clients': 2}}});"
        "e.population; print('sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
