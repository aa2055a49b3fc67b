"""Small made-up data sets that stand in for real ones of the same shape, for tests of what is run on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fedlearn.data.records import DataSet, Records


def toy(
    folder: Path | None = None,
    *,
    shape: list[int],
    classes: int,
    kind: str = "image",
    owners: int = 4,
    vocabulary: int | None = None,
    each: int = 200,
) -> DataSet:
    """Returns ``each`` records of each owner whose inputs say nothing about their targets."""
    del folder
    rng = np.random.default_rng(0)
    count = each * owners
    shaped = (count, *shape)
    inputs = (
        rng.random(shaped, dtype=np.float32) if vocabulary is None else rng.integers(vocabulary, size=shaped)
    )
    return DataSet(
        name="toy",
        records=Records(
            inputs=inputs,
            targets=np.arange(count) // owners % classes,
            owners=np.array([f"owner-{number % owners}" for number in range(count)]),
        ),
        classes=classes,
        shape=tuple(shape),
        kind=kind,  # type: ignore[arg-type]  # a toy of any kind
        licence="CC0",
        source="made up",
        vocabulary=vocabulary,
    )
