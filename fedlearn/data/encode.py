"""Categories as indicator features, over the published list of categories."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def indicators(column: NDArray[np.str_], categories: Sequence[str]) -> NDArray[np.float32]:
    """Returns one 0/1 feature per category, shape (n, len(categories)), float32.

    The categories are the published ones, so that every client makes the same features whatever
    its records hold. A value that is not among them (missing, ``?``) has zeros only.

    >>> indicators(np.array(["b", "?"]), ["a", "b"]).tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """
    held: NDArray[np.bool_] = column[:, None] == np.asarray(categories)[None, :]
    return held.astype(np.float32)
