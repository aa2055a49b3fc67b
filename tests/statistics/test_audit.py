"""An audit of what was executed: the attacker's success may not exceed what was accounted.

Ten thousand orthogonal canaries, each in or out by its own coin, are trained on at once; how well
their presence is told from the released gradients bounds ε from below. The bound goes through
Gaussian DP (Dong et al. 2022), so it assumes a Gaussian mechanism: it finds what was
executed wrongly, and proves nothing about another mechanism.

Every check is false at most once in a million runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import beta, norm
from torch import Tensor, nn

from fedlearn.crypto.noise import NoiseSource
from fedlearn.privacy.accounting import epsilon
from fedlearn.privacy.events import SampledGaussianEvent
from fedlearn.training import fast_clip
from fedlearn.training.private import PrivateGradient, RecordPrivacy
from fedlearn.training.vector import FlatModel

CANARIES = 10_000
DELTA = 1e-5
SIGNIFICANCE = 1e-6
# Thresholds are fixed before the scores are seen, in standard deviations of the noise.
THRESHOLDS = np.arange(-2.0, 6.0, 0.25)


@dataclass(frozen=True)
class Audit:
    """Lower bound on the ε that was spent, at ``SIGNIFICANCE``, and the ε that was accounted."""

    bound: float
    accounted: float


def amplified(outputs: Tensor, targets: Tensor) -> Tensor:
    """Makes every gradient three times the bound, so that clipping is at work."""
    del targets
    return 3.0 * outputs.mean()


def audit(
    *, noise_multiplier: float, rounds: int, executed_noise: float | None = None, charged: int
) -> Audit:
    """Runs DP-SGD on half of the canaries and attacks what it released."""
    inside = np.random.default_rng(0).random(CANARIES) < 0.5
    records = torch.from_numpy(np.flatnonzero(inside))[:, None]
    model = FlatModel(nn.Embedding(CANARIES, 1))
    gradient = PrivateGradient(model, amplified)
    settings = RecordPrivacy(
        noise_multiplier=executed_noise or noise_multiplier,
        max_grad_norm=0.1,
        sample_rate=1.0,
        declared_size=CANARIES,
    )
    source = NoiseSource()
    scores = np.zeros(CANARIES)
    for _ in range(rounds):
        gradient.write(records, torch.zeros(len(records)), privacy=settings, noise=source)
        scores += model.gradient.numpy() * CANARIES / (noise_multiplier * 0.1)
    event = SampledGaussianEvent(noise_multiplier=noise_multiplier, sample_rate=1.0, steps=charged)
    mu = gaussian_bound(scores[inside] / np.sqrt(rounds), scores[~inside] / np.sqrt(rounds))
    return Audit(bound=epsilon_of(mu), accounted=epsilon([event], delta=DELTA))


def gaussian_bound(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> float:
    """Returns μ such that the scores separate at least as N(μ, 1) and N(0, 1) do.

    Clopper–Pearson on both error rates at every threshold, Bonferroni over thresholds.
    """
    level = SIGNIFICANCE / (2 * len(THRESHOLDS))
    bounds = [
        norm.isf(upper(int((outside > cut).sum()), len(outside), level))
        - norm.ppf(upper(int((inside <= cut).sum()), len(inside), level))
        for cut in THRESHOLDS
    ]
    return float(max(0.0, *bounds))


def upper(errors: int, trials: int, level: float) -> float:
    return float(beta.isf(level, errors + 1, trials - errors)) if errors < trials else 1.0


def epsilon_of(mu: float) -> float:
    if mu == 0:
        return 0.0
    return epsilon([SampledGaussianEvent(noise_multiplier=1 / mu, sample_rate=1.0, steps=1)], delta=DELTA)


@pytest.mark.parametrize(("noise_multiplier", "rounds"), [(1.0, 1), (2.0, 4), (0.5, 1)])
def test_what_was_executed_is_what_was_accounted(noise_multiplier: float, rounds: int) -> None:
    found = audit(noise_multiplier=noise_multiplier, rounds=rounds, charged=rounds)
    assert found.bound <= found.accounted
    assert found.bound >= 0.6 * found.accounted


def test_half_of_the_noise_is_flagged() -> None:
    found = audit(noise_multiplier=1.0, executed_noise=0.5, rounds=1, charged=1)
    assert found.bound > found.accounted


def test_missing_clipping_is_flagged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_clip, "factors_of", lambda squares, bound: torch.ones(len(squares)))
    found = audit(noise_multiplier=1.0, rounds=1, charged=1)
    assert found.bound > found.accounted


def test_half_of_the_rounds_forgotten_is_flagged() -> None:
    found = audit(noise_multiplier=2.0, rounds=4, charged=2)
    assert found.bound > found.accounted
