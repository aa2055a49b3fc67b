"""What a client computes for a release that a cohort protects together: sums, without noise of its own.

Guarantee: one record more or less moves each sum by at most the stated norm in L2. A sum protects
nothing before the cohort's noise is on it; it goes to :class:`fedlearn.privacy.cohort_noise.CohortNoise`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from fedlearn._types import Vector
from fedlearn.crypto.noise import NoiseSource
from fedlearn.data.statistics import contributions
from fedlearn.stopwatch import timed
from fedlearn.training.batches import fetch
from fedlearn.training.devices import seeded
from fedlearn.training.local import Workbench
from fedlearn.training.record_privacy import RecordPrivacy, poisson_sample


@dataclass(frozen=True, kw_only=True)
class GradientSum:
    """The clipped gradient sum of one Poisson sample: a client's part of one step of all.

    Attributes:
      dataset: the client's records.
      records: how many there are; private.
      bench: the workbench it computes on, shared by the clients of a process.
      privacy: bound and sample rate.
      coins: round → secret randomness of its samples and views.
    """

    dataset: Dataset[tuple[Tensor, ...]] = field(repr=False)
    records: int
    bench: Workbench = field(repr=False)
    privacy: RecordPrivacy
    coins: Callable[[int], NoiseSource] = field(repr=False)

    @timed("training")
    def train(self, params: Vector, *, round: int) -> Vector:
        """Returns Σ g · min(1, C / ‖g‖) at the global vector, shape (d,), float32."""
        device, coins = self.bench.open(), self.coins(round)
        sample = poisson_sample(self.records, self.privacy, coins)
        records = self.bench.placed(self.dataset)
        self.bench.model.load(params)
        self.bench.model.module.train()
        with seeded(coins.seed(), device):
            inputs, targets = self.bench.drawn(records, sample)
            total = self.bench.private_gradient.clipped_sum(
                inputs, targets, max_grad_norm=self.privacy.max_grad_norm
            )
        vector: Vector = total.numpy()
        return vector


@dataclass(frozen=True, kw_only=True)
class MomentSum:
    """The contributions of all records of a client to mean and spread of its features.

    Attributes:
      dataset: the client's records: rows of features, in their public unit.
      records: how many there are; private.
      bound: L2 norm of one record's contribution; None leaves it as it is.
      divisor: public number that the sum is divided by.
    """

    dataset: Dataset[tuple[Tensor, ...]] = field(repr=False)
    records: int
    bound: float | None
    divisor: float = 1.0

    def train(self, params: Vector, *, round: int) -> NDArray[np.floating]:
        """Returns Σ (x, x² − 1) / divisor, shape (2d,): float64 with a bound, else float32."""
        del params, round
        inputs, _ = fetch(self.dataset, np.arange(self.records))
        total: NDArray[np.float64] = contributions(inputs.numpy(), bound=self.bound).sum(axis=0)
        total /= self.divisor
        return total if self.bound is not None else total.astype(np.float32)
