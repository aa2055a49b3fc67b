"""What record-level DP-SGD promises in every step, and how it samples; without Opacus, which loads slowly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedlearn._validate import in_range, positive
from fedlearn.crypto.noise import NoiseSource
from fedlearn.stopwatch import timed


@dataclass(frozen=True, kw_only=True)
class RecordPrivacy:
    """What protects a record in every step.

    Guarantee: one step is a Gaussian mechanism of noise multiplier σ on a Poisson sample: adding or
    removing one record changes the sum of clipped gradients by at most ``max_grad_norm`` in L2.

    Attributes:
      noise_multiplier: σ = stddev / max_grad_norm; > 0.
      max_grad_norm: C, L2 bound of one record's gradient over all parameters; > 0.
      sample_rate: q, chance that a record enters a step, in (0, 1].
      declared_size: public number of records; the step divides by ``declared_size`` · q, never by the
        number that was drawn, which is private.
    """

    noise_multiplier: float
    max_grad_norm: float
    sample_rate: float
    declared_size: int

    def __post_init__(self) -> None:
        positive(noise_multiplier=self.noise_multiplier, max_grad_norm=self.max_grad_norm)
        positive(sample_rate=self.sample_rate)
        in_range(0.0, 1.0, sample_rate=self.sample_rate)
        positive(declared_size=self.declared_size)

    @property
    def expected_batch(self) -> float:
        """Expected number of records in a step, from public values."""
        return self.declared_size * self.sample_rate


@timed("data")
def poisson_sample(records: int, privacy: RecordPrivacy, noise: NoiseSource) -> NDArray[np.int64]:
    """Returns the indices of a Poisson sample; each record is in it by its own secret coin."""
    if privacy.sample_rate >= 1:
        return np.arange(records)
    return np.flatnonzero(noise.bernoulli(records, privacy.sample_rate))
