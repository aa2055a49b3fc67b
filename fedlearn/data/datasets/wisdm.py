"""WISDM activity recognition v1.1: accelerometer features of 36 persons, 5,418 records, 6 classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlearn.data.files import locate
from fedlearn.data.records import DataSet, Records
from fedlearn.data.standardise import Standardisation

_FILE = "wisdm_transformed.npz"
_COLUMNS = ("X", "y", "user")

# From what the features measure (Kwapisz et al. 2010, section 2.2), over 10 seconds and three axes:
# ten histogram bins that share 1, mean in m/s², time between peaks in ms, mean absolute and
# standard deviation in m/s², and the mean resultant, which gravity alone makes 9.8 m/s².
_GROUPS: tuple[tuple[int, float, float], ...] = (
    (30, 0.1, 0.1),
    (3, 0.0, 5.0),
    (3, 1000.0, 1000.0),
    (3, 3.0, 3.0),
    (3, 4.0, 4.0),
    (1, 10.0, 3.0),
)


def wisdm(folder: Path | None = None) -> DataSet:
    """Returns the records with the person as owner; a missing peak time is its public centre.

    Args:
      folder: with ``wisdm_transformed.npz``: ``X`` (n, 43) float32 in the order of the published
        transformed file, ``y`` (n,) the class in alphabetical order, ``user`` (n,) the person.

    Raises:
      DataError: the file is missing.
    """
    source = "https://www.cis.fordham.edu/wisdm/dataset.php (transformed, as arrays X, y, user)"
    found = locate(folder, name="wisdm", files=[_FILE], source=source)
    with np.load(found / _FILE, allow_pickle=False) as arrays:
        inputs, targets, persons = (arrays[column] for column in _COLUMNS)
    scale = _scale()
    return DataSet(
        name="wisdm",
        records=Records(
            inputs=_imputed(inputs, scale.center),
            targets=targets.astype(np.int64),
            owners=np.char.mod("person-%02d", persons),
        ),
        classes=6,
        shape=(43,),
        kind="tabular",
        licence="cite Kwapisz et al. (2010) and keep the WISDM readme with the files",
        source="Kwapisz, Weiss and Moore (2010), SensorKDD",
        scale=scale,
    )


def _scale() -> Standardisation:
    sizes, centers, spreads = zip(*_GROUPS, strict=True)
    return Standardisation(center=np.repeat(centers, sizes), spread=np.repeat(spreads, sizes))


def _imputed(inputs: NDArray[Any], center: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.where(np.isnan(inputs), center, inputs).astype(np.float32)
