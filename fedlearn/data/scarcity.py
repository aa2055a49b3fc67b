"""Scarce data, on purpose: fewer records, fewer labels, fewer features.

Functions over the parts of a partition (client name → indices); a rerun with the same
``rng`` state makes the same scarcity. Nothing is mutated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlearn import _validate
from fedlearn.errors import ConfigError, DataError

Parts = Mapping[str, NDArray[np.int64]]
"""Client name → indices of its records."""


def few_records(parts: Parts, *, per_client: int, rng: np.random.Generator) -> dict[str, NDArray[np.int64]]:
    """Returns ``per_client`` random records of each client, in their old order.

    Raises:
      ConfigError: ``per_client`` is below 1.
      DataError: a client has fewer; names it.

    >>> parts = {"a": np.arange(5), "b": np.arange(5, 9)}
    >>> {k: len(v) for k, v in few_records(parts, per_client=3, rng=np.random.default_rng(0)).items()}
    {'a': 3, 'b': 3}
    """
    if per_client < 1:
        raise ConfigError(f"per_client={per_client} must be at least 1")
    for client, part in parts.items():
        if len(part) < per_client:
            raise DataError(
                f"client {client!r} has {len(part)} records, fewer than per_client={per_client};"
                " lower it or use fewer clients"
            )
    return {
        client: np.sort(rng.choice(part, size=per_client, replace=False)) for client, part in parts.items()
    }


def few_labels(
    parts: Parts, *, fraction: float, rng: np.random.Generator
) -> dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Returns, for each client, the records that keep their label and those that lose it.

    A client keeps the label of ``ceil(fraction · n)`` of its n records, so of one at least.

    Args:
      parts: client name → indices.
      fraction: share of labelled records, in (0, 1].
      rng: draws which.

    Raises:
      ConfigError: the fraction is out of range.
    """
    _validate.positive(fraction=fraction)
    _validate.in_range(0.0, 1.0, fraction=fraction)
    divided = {}
    for client, part in parts.items():
        order = rng.permutation(part)
        # 0.1 · 30 is 3.0000000000000004 in floating point, and means 3.
        labelled = math.ceil(fraction * len(part) - 1e-9)
        divided[client] = (np.sort(order[:labelled]), np.sort(order[labelled:]))
    return divided


def missing_features(
    inputs: NDArray[np.float32],
    parts: Parts,
    *,
    fraction: float,
    rng: np.random.Generator,
    fill: NDArray[Any] | float = 0.0,
) -> NDArray[np.float32]:
    """Returns records in which each client lacks a random set of features altogether.

    As when a hospital does not take a measurement: the set is the client's, not the record's.

    Args:
      inputs: shape (n, d), float32.
      parts: client name → indices into ``inputs``.
      fraction: share of features that a client lacks, in [0, 1); rounded down, so one is left.
      rng: draws which.
      fill: what stands for them: a number, or one per feature (the centre of the public constants).

    Raises:
      ConfigError: the fraction is out of range.
      DataError: the records are not rows of features.
    """
    if not 0 <= fraction < 1:
        raise ConfigError(f"fraction={fraction} of missing features must lie in [0, 1)")
    if inputs.ndim != 2:
        raise DataError(f"records of shape {inputs.shape[1:]} are not rows of features")
    features = inputs.shape[1]
    values = np.broadcast_to(np.asarray(fill, dtype=np.float32), (features,))
    thinned = inputs.copy()
    for part in parts.values():
        lost = rng.choice(features, size=math.floor(fraction * features + 1e-9), replace=False)
        thinned[np.ix_(part, lost)] = values[lost]
    return thinned
