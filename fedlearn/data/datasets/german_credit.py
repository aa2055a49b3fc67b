"""Statlog German credit: 1,000 records of 20 attributes, 2 classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fedlearn.data.encode import indicators
from fedlearn.data.files import locate
from fedlearn.data.records import DataSet, Records
from fedlearn.data.standardise import Standardisation

_FILE = "german.data"
_SOURCE = "Hofmann (1994), UCI Machine Learning Repository, 10.24432/C5NC77"

# Column → first and last code of the published categories (german.doc); A410 follows A49.
_CODES = {
    0: (11, 14), 2: (30, 34), 5: (61, 65), 6: (71, 75), 8: (91, 95), 9: (101, 103), 11: (121, 124),
    13: (141, 143), 14: (151, 153), 16: (171, 174), 18: (191, 192), 19: (201, 202),
}  # fmt: skip
_PURPOSES = [*(f"A{code}" for code in range(40, 50)), "A410"]
# Months, German marks, instalment in classes 1–4, years of residence 1–4, age, credits here, dependants.
_NUMBERS = {
    1: (0.0, 72.0), 4: (0.0, 20_000.0), 7: (1.0, 4.0), 10: (1.0, 4.0), 12: (18.0, 80.0), 15: (1.0, 4.0),
    17: (1.0, 2.0),
}  # fmt: skip
_NAMES = ("months", "amount", "instalment", "residence", "age", "credits", "dependants")


def german_credit(folder: Path | None = None) -> DataSet:
    """Returns the records; target 1 is a bad credit risk.

    Args:
      folder: with ``german.data``.

    Raises:
      DataError: the file is missing.
    """
    found = locate(folder, name="german-credit", files=[_FILE], source=_SOURCE)
    rows = np.loadtxt(found / _FILE, dtype=np.str_)
    categories = {column: [f"A{code}" for code in range(a, b + 1)] for column, (a, b) in _CODES.items()}
    coded = {**categories, 3: _PURPOSES}
    groups = [indicators(rows[:, column], names) for column, names in coded.items()]
    numbers = rows[:, list(_NUMBERS)].astype(np.float32)
    inputs = np.concatenate([numbers, *groups], axis=1)
    low, high = np.array(list(_NUMBERS.values())).T
    return DataSet(
        name="german-credit",
        records=Records(inputs=inputs, targets=rows[:, -1].astype(np.int64) - 1),
        classes=2,
        shape=inputs.shape[1:],
        kind="tabular",
        licence="CC BY 4.0",
        source=_SOURCE,
        scale=Standardisation.from_range(low, high).beside_indicators(inputs.shape[1] - len(_NUMBERS)),
        features=(*_NAMES, *(code for codes in coded.values() for code in codes)),
    )
