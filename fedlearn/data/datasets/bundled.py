"""Tables that scikit-learn brings along, read without loading scikit-learn, which takes a second or two."""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedlearn.errors import DataError


def bundled_table(name: str, *, header: int = 0) -> NDArray[np.float64]:
    """Returns the rows of a table in scikit-learn's folder of data sets, shape (n, columns).

    Args:
      name: the file, ``.csv`` or ``.csv.gz``.
      header: lines before the first row.

    Raises:
      DataError: this scikit-learn has no such table.
    """
    spec = find_spec("sklearn")
    folders = spec.submodule_search_locations if spec is not None else None
    path = Path(next(iter(folders or ["."]))) / "datasets" / "data" / name
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}; install scikit-learn 1.2 or later"
        ) from None
    text = (gzip.decompress(raw) if name.endswith(".gz") else raw).decode("ascii")
    return np.array([line.split(",") for line in text.splitlines()[header:]], dtype=np.float64)
