"""From events to what any test can tell: the trade-off of its two errors (Dong et al. 2022, section 2)."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from fedlearn.privacy.accounting import epsilon
from fedlearn.privacy.events import Event

_DELTAS = np.unique(np.concatenate([np.geomspace(1e-7, 1e-2, 30), np.linspace(0.01, 0.99, 99)]))
_RATES = np.concatenate([[0.0], np.geomspace(1e-8, 1e-3, 500), np.linspace(0.001, 1.0, 4000)[1:]])


def largest_auc(events: Iterable[Event]) -> float:
    """Returns a bound on the AUC of every test of whether one record was in, from what was released.

    If the events are (ε, δ)-DP, a test of false positive rate α has a true positive rate of at most
    δ + e^ε·α and of at most 1 − e^−ε·(1 − δ − α) (Kairouz et al. 2015, Theorem 2.1); here at many
    δ together. A mean over records keeps the bound, because the curve is concave.

    Args:
      events: all that was released about the records; none is a bound of ½.

    >>> from fedlearn.privacy.events import SampledGaussianEvent
    >>> once = SampledGaussianEvent(noise_multiplier=2.0, sample_rate=1.0, steps=1)
    >>> exact = 0.5 * (1 + math.erf(0.5 / 2))  # of two normals half a deviation apart
    >>> 0 <= largest_auc([once]) - exact < 0.005
    True
    """
    released = tuple(events)
    highest = np.ones_like(_RATES)
    for delta in _DELTAS:
        bound = epsilon(released, delta=float(delta))
        if math.isfinite(bound):
            growth = math.exp(min(bound, 700.0))
            highest = np.minimum(highest, delta + growth * _RATES)
            highest = np.minimum(highest, 1.0 - (1.0 - delta - _RATES) / growth)
    # The curve rises: its value at the right end of each interval is above it.
    area = float(np.sum(np.diff(_RATES) * highest[1:]))
    return min(1.0, area)
