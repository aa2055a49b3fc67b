"""Breast Cancer Wisconsin (Diagnostic), as bundled with scikit-learn: 569 records, 30 features, 2 classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fedlearn.data.datasets.bundled import bundled_table
from fedlearn.data.records import DataSet, Records
from fedlearn.data.standardise import Standardisation

# The table "Summary Statistics" in the published description of the data set (Wolberg et al. 1995),
# for radius, texture, perimeter, area, smoothness, compactness, concavity, concave points,
# symmetry and fractal dimension: means, standard errors, worst values.
_LOW = (
    (6.981, 9.71, 43.79, 143.5, 0.053, 0.019, 0.0, 0.0, 0.106, 0.05),
    (0.112, 0.36, 0.757, 6.802, 0.002, 0.002, 0.0, 0.0, 0.008, 0.001),
    (7.93, 12.02, 50.41, 185.2, 0.071, 0.027, 0.0, 0.0, 0.156, 0.055),
)
_HIGH = (
    (28.11, 39.28, 188.5, 2501.0, 0.163, 0.345, 0.427, 0.201, 0.304, 0.097),
    (2.873, 4.885, 21.98, 542.2, 0.031, 0.135, 0.396, 0.053, 0.079, 0.03),
    (36.04, 49.54, 251.2, 4254.0, 0.223, 1.058, 1.252, 0.291, 0.664, 0.208),
)

_MEASURED = (
    *("radius", "texture", "perimeter", "area", "smoothness"),
    *("compactness", "concavity", "concave points", "symmetry", "fractal dimension"),
)
_FEATURES = tuple(
    pattern.format(measured) for pattern in ("mean {}", "{} error", "worst {}") for measured in _MEASURED
)


def breast_cancer(folder: Path | None = None) -> DataSet:
    """Returns the data set; target 1 is malignant. Needs no folder.

    The public constants are the published minimum and maximum of each feature.

    >>> breast_cancer().records.inputs.shape
    (569, 30)
    """
    del folder
    table = bundled_table("breast_cancer.csv", header=1)
    return DataSet(
        name="breast-cancer",
        records=Records(
            inputs=table[:, :-1].astype(np.float32),
            # scikit-learn numbers malignant 0; what a screening looks for is class 1 here.
            targets=1 - table[:, -1].astype(np.int64),
        ),
        classes=2,
        shape=(30,),
        kind="tabular",
        licence="CC BY 4.0",
        source="Wolberg, Mangasarian and Street (1995), UCI Machine Learning Repository, 10.24432/C5DW2B",
        scale=Standardisation.from_range(np.ravel(_LOW), np.ravel(_HIGH)),
        features=_FEATURES,
    )
