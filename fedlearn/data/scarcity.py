"""Scarce data, on purpose: fewer records, fewer labels, fewer features.

Functions over one client's records; a rerun with the same ``rng`` state makes the same scarcity.
Nothing is mutated.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlearn._validate import in_range, positive
from fedlearn.data.records import Records
from fedlearn.errors import ConfigError, DataError


def few_records(records: Records, *, keep: int, client: str, rng: np.random.Generator) -> Records:
    """Returns ``keep`` random records, in their old order.

    Args:
      records: of one client.
      keep: how many, at least 1.
      client: its name, for the error.
      rng: draws which.

    Raises:
      ConfigError: ``keep`` is below 1.
      DataError: the client has fewer.
    """
    if keep < 1:
        raise ConfigError(f"records_per_client={keep} must be at least 1")
    if len(records) < keep:
        raise DataError(
            f"client {client!r} has {len(records)} training records, fewer than"
            f" records_per_client={keep}; lower it or use fewer clients"
        )
    return records.take(np.sort(rng.choice(len(records), size=keep, replace=False)))


def few_labels(records: Records, *, fraction: float, rng: np.random.Generator) -> tuple[Records, Records]:
    """Returns the records that keep their label, ⌈fraction · n⌉ of n and so one at least, and the others.

    Both are in their old order.

    Args:
      records: of one client.
      fraction: share of labelled records, in (0, 1].
      rng: draws which.

    Raises:
      ConfigError: the fraction is out of range.
    """
    positive(fraction=fraction)
    in_range(0.0, 1.0, fraction=fraction)
    # 0.1 · 30 is 3.0000000000000004 in floating point, and means 3.
    labelled = math.ceil(fraction * len(records) - 1e-9)
    order = rng.permutation(len(records))
    return records.take(np.sort(order[:labelled])), records.take(np.sort(order[labelled:]))


def missing_features(
    records: Records, *, fraction: float, rng: np.random.Generator, fill: NDArray[Any] | float = 0.0
) -> Records:
    """Returns records that lack a random set of features altogether.

    As when a hospital does not take a measurement: the set is the client's, not the record's.

    Args:
      records: of one client, inputs of shape (n, d).
      fraction: share of features that it lacks, in [0, 1); rounded down, so one is left.
      rng: draws which.
      fill: what stands for them: a number, or one per feature (the centre of the public constants).

    Raises:
      ConfigError: the fraction is out of range.
      DataError: the records are not rows of features.
    """
    if not 0 <= fraction < 1:
        raise ConfigError(f"missing_features={fraction} must lie in [0, 1)")
    if records.inputs.ndim != 2 or records.inputs.dtype.kind != "f":
        raise DataError(
            f"data.scarcity.missing_features={fraction:g} takes columns from rows of real features;"
            f" records of shape {records.inputs.shape[1:]} and type {records.inputs.dtype} are none: leave it"
            " out"
        )
    features = records.inputs.shape[1]
    lost = rng.choice(features, size=math.floor(fraction * features + 1e-9), replace=False)
    thinned = records.inputs.copy()
    thinned[:, lost] = np.broadcast_to(np.asarray(fill, dtype=np.float32), (features,))[lost]
    return replace(records, inputs=thinned)
