"""Federated standardisation: constants of all clients' records, from sums alone.

Each client adds up what its records contribute to the first two moments; only the total is needed, so
it can travel masked and noised like any other vector. Records come in the data set's public unit
(``Standardisation.apply``), so that one bound fits all features and x² − 1 is near 0: it is exactly 0 for
a yes/no feature, which maps to ±1.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlearn import _validate
from fedlearn.data.standardise import Standardisation
from fedlearn.errors import DataError

MIN_SPREAD = 0.1
"""Least spread, in public units: noise can make a variance small or negative."""


def default_bound(features: int) -> float:
    """Returns √(2d): (x, x² − 1) of a record within its public ranges is mostly shorter.

    >>> default_bound(8)
    4.0
    """
    return math.sqrt(2.0 * features)


def contributions(inputs: NDArray[Any], *, bound: float | None) -> NDArray[np.float64]:
    """Returns what each record adds to the moments: (x, x² − 1), scaled to L2 norm ``bound`` at most.

    Guarantee: with a bound, one record more or less moves the sum by at most ``bound`` in L2. A
    record that is not finite contributes 0.

    Args:
      inputs: records (n, d), in their public unit.
      bound: C > 0; None leaves the contributions as they are.

    Returns:
      Shape (n, 2d), float64.

    Raises:
      DataError: the records are not rows of features.
      ConfigError: the bound is not positive.

    >>> contributions(np.array([[1.0, 2.0]]), bound=None).tolist()
    [[1.0, 2.0, 0.0, 3.0]]
    """
    if inputs.ndim != 2 or inputs.dtype.kind != "f":
        raise DataError(
            f"records of shape {inputs.shape[1:]} and type {inputs.dtype} are not rows of real features;"
            " data.standardise='federated' needs these: use 'public' or 'none'"
        )
    values = inputs.astype(np.float64)
    moments = np.concatenate([values, np.square(values) - 1.0], axis=1)
    if bound is None:
        return moments
    _validate.positive(bound=bound)
    moments[~np.isfinite(moments).all(axis=1)] = 0.0
    norms = np.linalg.norm(moments, axis=1, keepdims=True)
    # Lowered by more than float64 rounds, so that no contribution ends above the bound.
    factors = bound * (1.0 - 1e-12) / np.maximum(norms, bound)
    clipped: NDArray[np.float64] = moments * factors
    return clipped


def standardisation_of(means: NDArray[Any], *, min_spread: float = MIN_SPREAD) -> Standardisation:
    """Returns the constants of records whose contributions have these means.

    Args:
      means: sum of the contributions over the public number of records, shape (2d,).
      min_spread: what a smaller spread counts as, as noise may leave a variance below zero.

    Raises:
      DataError: an odd length, or means that are not finite.

    >>> rows = np.array([[-1.0], [3.0]])
    >>> found = standardisation_of(contributions(rows, bound=None).mean(axis=0))
    >>> found.center.tolist(), found.spread.tolist()
    ([1.0], [2.0])
    """
    if means.ndim != 1 or means.size % 2 or not np.isfinite(means).all():
        raise DataError(f"means of shape {means.shape} must be (2d,) and finite")
    center, squares = np.split(means.astype(np.float64), 2)
    variance = squares + 1.0 - np.square(center)
    return Standardisation(center=center, spread=np.sqrt(np.maximum(variance, min_spread**2)))
