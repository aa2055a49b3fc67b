"""Handwritten digits, as bundled with scikit-learn: 1,797 images of 8×8 pixels, 10 classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fedlearn.data.datasets.bundled import bundled_table
from fedlearn.data.records import DataSet, Records


def digits(folder: Path | None = None) -> DataSet:
    """Returns the images (1, 8, 8) with pixels in [0, 1]. Needs no folder.

    >>> digits().records.inputs.shape
    (1797, 1, 8, 8)
    """
    del folder
    table = bundled_table("digits.csv.gz")
    return DataSet(
        name="digits",
        records=Records(
            # A pixel counts 0 to 16 dots of a 4×4 block.
            inputs=(table[:, :-1].reshape(-1, 1, 8, 8) / 16.0).astype(np.float32),
            targets=table[:, -1].astype(np.int64),
        ),
        classes=10,
        shape=(1, 8, 8),
        kind="image",
        licence="CC BY 4.0",
        source="Alpaydin and Kaynak (1998), UCI Machine Learning Repository, 10.24432/C50P49 (test part)",
    )
