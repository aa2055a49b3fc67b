"""Census income (Adult): 32,561 training and 16,281 test records, 2 classes."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedlearn.data.encode import indicators
from fedlearn.data.files import locate
from fedlearn.data.records import DataSet, Records
from fedlearn.data.standardise import Standardisation
from fedlearn.errors import DataError

_FILES = ("adult.data", "adult.test")
_SOURCE = "Becker and Kohavi (1996), UCI Machine Learning Repository, 10.24432/C5XW20"
_COLUMNS = 15

# A column and its published categories (adult.names) per line. Education is left to its number of
# years, column 4; the census weight, column 2, says nothing about a person.
_CODEBOOK = """\
1 Private Self-emp-not-inc Self-emp-inc Federal-gov Local-gov State-gov Without-pay Never-worked
5 Married-civ-spouse Divorced Never-married Separated Widowed Married-spouse-absent Married-AF-spouse
6 Tech-support Craft-repair Other-service Sales Exec-managerial Prof-specialty Handlers-cleaners \
Machine-op-inspct Adm-clerical Farming-fishing Transport-moving Priv-house-serv Protective-serv Armed-Forces
7 Wife Own-child Husband Not-in-family Other-relative Unmarried
8 White Asian-Pac-Islander Amer-Indian-Eskimo Other Black
9 Female Male
13 United-States Cambodia England Puerto-Rico Canada Germany Outlying-US(Guam-USVI-etc) India Japan Greece \
South China Cuba Iran Honduras Philippines Italy Poland Jamaica Vietnam Mexico Portugal Ireland France \
Dominican-Republic Laos Ecuador Taiwan Haiti Columbia Hungary Guatemala Nicaragua Scotland Thailand \
Yugoslavia El-Salvador Trinadad&Tobago Peru Hong Holand-Netherlands
"""
_CATEGORIES = {int(line.split()[0]): line.split()[1:] for line in _CODEBOOK.splitlines()}
# Age and years of education, logarithms of capital gain and loss in dollars, hours per week:
# ranges that the census form allows.
_NUMBERS = {0: (17.0, 90.0), 4: (1.0, 16.0), 10: (0.0, 12.0), 11: (0.0, 12.0), 12: (0.0, 100.0)}
_DOLLARS = (10, 11)
_NAMES = ("age", "years of education", "log capital gain", "log capital loss", "hours per week")
_OWNERS = {"occupation": 6, "country": 13}


def adult(folder: Path | None = None, *, owner: str = "occupation") -> DataSet:
    """Returns the records with occupation or country as owner, the published test part held out.

    Target 1 is an income above 50,000 dollars. A missing category has zeros only, and
    ``unknown`` as owner.

    Args:
      folder: with ``adult.data`` and ``adult.test``, both gzipped (``.gz``) or both not.
      owner: ``occupation`` (15 clients) or ``country`` (42).

    Raises:
      DataError: a file is missing, or the owner is no such column.
    """
    if owner not in _OWNERS:
        raise DataError(f"owner={owner!r} of adult must be one of {', '.join(_OWNERS)}")
    train, test = (_rows(content) for content in _contents(folder))
    rows = np.concatenate([train, test])
    owners = rows[:, _OWNERS[owner]]
    inputs = _features(rows)
    low, high = np.array(list(_NUMBERS.values())).T
    return DataSet(
        name="adult",
        records=Records(
            inputs=inputs,
            targets=np.char.startswith(rows[:, -1], ">50K").astype(np.int64),
            owners=np.where(owners == "?", "unknown", owners),
            is_test=np.arange(len(rows)) >= len(train),
        ),
        classes=2,
        shape=inputs.shape[1:],
        kind="tabular",
        licence="CC BY 4.0",
        source=_SOURCE,
        scale=Standardisation.from_range(low, high).beside_indicators(inputs.shape[1] - len(_NUMBERS)),
        features=(*_NAMES, *(name for names in _CATEGORIES.values() for name in names)),
    )


def _contents(folder: Path | None) -> list[str]:
    packed = [f"{name}.gz" for name in _FILES]
    if folder is not None and all((folder / name).is_file() for name in _FILES):
        return [(folder / name).read_text(encoding="ascii") for name in _FILES]
    found = locate(folder, name="adult", files=packed, source=f"{_SOURCE} (gzip them)")
    return [gzip.decompress((found / name).read_bytes()).decode("ascii") for name in packed]


def _rows(content: str) -> NDArray[np.str_]:
    """Returns the cells (n, 15); lines of another length are the comment and blank lines of the originals."""
    cells = [line.split(", ") for line in content.splitlines()]
    return np.array([row for row in cells if len(row) == _COLUMNS])


def _features(rows: NDArray[np.str_]) -> NDArray[np.float32]:
    """Returns numbers and then indicators, (n, 88), float32."""
    numbers = rows[:, list(_NUMBERS)].astype(np.float32)
    dollars = [list(_NUMBERS).index(column) for column in _DOLLARS]
    numbers[:, dollars] = np.log1p(numbers[:, dollars])
    groups = [indicators(rows[:, column], names) for column, names in _CATEGORIES.items()]
    return np.concatenate([numbers, *groups], axis=1)
