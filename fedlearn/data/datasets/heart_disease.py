"""UCI heart disease of four hospitals, prepared as FLamby's Fed-Heart-Disease (du Terrail et al. 2022).

486 training and 254 test records, 13 features, 2 classes. Traps that are part of it: one
hospital's training targets are all positive, one feature is constant there
(cholesterol, recorded as 0), and one test part has 16 records.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlearn.data.files import fetch_zip, locate, verify
from fedlearn.data.records import DataSet, Records
from fedlearn.data.standardise import Standardisation

URL = "https://archive.ics.uci.edu/static/public/45/heart+disease.zip"
_SOURCE = "Janosi, Steinbrunn, Pfisterer and Detrano (1989), UCI Machine Learning Repository, 10.24432/C52P4X"
_LIMIT_BYTES = 4_000_000
_HOSPITALS = ("cleveland", "hungarian", "switzerland", "va")
_DIGESTS = {
    "processed.cleveland.data": "a74b7efa387bc9d108d7d0115d831fe9b414b29ae7124f331b622b4efa0427c8",
    "processed.hungarian.data": "d1ad108f785768cd3d7e82dc522e6f5a61eea93cccfb3a46ee8076f73fc3d796",
    "processed.switzerland.data": "834a405ccf5b66ab4056bb77794adc8df0b7125186454c0a1d002d33c6c3b314",
    "processed.va.data": "e7c93d8d0d2acdadfa4c5e8de768e2191e7f618b952e29623f1f0d5949ff6b8f",
}
_DROPPED = (10, 11, 12)  # slope, vessels and thal: mostly missing outside Cleveland
_DUMMIES = {2: (2.0, 3.0, 4.0), 6: (1.0, 2.0)}  # chest pain and resting ECG, without their first level

# What an adult in a cardiology ward may have, and not what these patients had: age in years,
# resting blood pressure in mmHg, cholesterol in mg/dl, maximum heart rate in 1/min, exercise
# ST depression in mm. Yes/no features map to ±1 (a range of 4 for a spread of 1).
_RANGES = {
    "age": (20.0, 90.0),
    "male": (-0.5, 1.5),
    "blood pressure": (80.0, 200.0),
    "cholesterol": (100.0, 400.0),
    "fasting sugar above 120": (-0.5, 1.5),
    "maximum heart rate": (60.0, 220.0),
    "exercise angina": (-0.5, 1.5),
    "ST depression": (-2.0, 6.0),
    **{f"chest pain {level}": (-0.5, 1.5) for level in (2, 3, 4)},
    **{f"resting ECG {level}": (-0.5, 1.5) for level in (1, 2)},
}


def heart_disease(folder: Path | None = None, *, download: bool = False, split: int = 43) -> DataSet:
    """Returns the records with the hospital as owner, and the test part that FLamby holds out.

    Args:
      folder: with the four ``processed.*.data``; None fetches them from the UCI archive (4 MB at
        most, digests checked) and keeps nothing on disk.
      download: fetch them into ``folder`` unless they are there.
      split: random state of each hospital's held-out part; 43 is FLamby's.

    Raises:
      DataError: files are missing, altered or out of reach; says where to get them.
    """
    contents = _contents(folder, download=download)
    tables = [_table(contents[f"processed.{hospital}.data"]) for hospital in _HOSPITALS]
    targets = [(table[:, -1] > 0).astype(np.int64) for table in tables]
    ranges = np.array(list(_RANGES.values()))
    return DataSet(
        name="heart-disease",
        records=Records(
            inputs=np.concatenate([_features(table) for table in tables]),
            targets=np.concatenate(targets),
            owners=np.repeat(_HOSPITALS, [len(table) for table in tables]),
            is_test=np.concatenate([_held_out(target, split) for target in targets]),
        ),
        classes=2,
        shape=(len(_RANGES),),
        kind="tabular",
        licence="CC BY 4.0",
        source=_SOURCE,
        scale=Standardisation.from_range(ranges[:, 0], ranges[:, 1]),
        features=tuple(_RANGES),
    )


def _contents(folder: Path | None, *, download: bool) -> dict[str, bytes]:
    if folder is None:
        return fetch_zip(URL, members=_DIGESTS, limit=_LIMIT_BYTES)
    if download and not all((folder / name).is_file() for name in _DIGESTS):
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in fetch_zip(URL, members=_DIGESTS, limit=_LIMIT_BYTES).items():
            (folder / name).write_bytes(content)
    found = locate(folder, name="heart-disease", files=list(_DIGESTS), source=URL)
    return {
        name: verify((found / name).read_bytes(), name=name, sha256=sha256)
        for name, sha256 in _DIGESTS.items()
    }


def _table(content: bytes) -> NDArray[np.float64]:
    """Returns the complete rows of a hospital, without the dropped columns: (n, 11)."""
    raw = np.genfromtxt(io.BytesIO(content), delimiter=",", missing_values="?")
    kept = np.delete(raw, _DROPPED, axis=1)
    complete: NDArray[np.float64] = kept[~np.isnan(kept).any(axis=1)]
    return complete


def _features(table: NDArray[np.float64]) -> NDArray[np.float32]:
    """Returns the features in FLamby's order: plain columns, then dummies: (n, 13)."""
    plain = [table[:, column] for column in range(table.shape[1] - 1) if column not in _DUMMIES]
    dummies = [table[:, column] == level for column, levels in _DUMMIES.items() for level in levels]
    return np.stack([*plain, *dummies], axis=1).astype(np.float32)


def _held_out(targets: NDArray[np.int64], split: int) -> NDArray[np.bool_]:
    """Returns the test part of one hospital as FLamby draws it: 34 %, stratified if both classes allow it."""
    from sklearn.model_selection import train_test_split

    counts = np.bincount(targets, minlength=2)
    stratify: NDArray[Any] | None = targets if counts.min() > 2 else None
    _, test = train_test_split(
        np.arange(len(targets)), test_size=0.34, random_state=split, shuffle=True, stratify=stratify
    )
    return np.isin(np.arange(len(targets)), test)
