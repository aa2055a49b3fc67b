"""An audit of what was executed: the attacker's success may not exceed what was accounted.

Ten thousand orthogonal canaries, each in or out by its own coin, are trained on at once through the
real clipping and noise. Every check is false at most once in a million runs. Faults that an audit cannot
see have tests of their own: ``test_what_an_audit_cannot_see.py``.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedlearn.attacks.audit import AuditBounds, bounds_of
from fedlearn.crypto.noise import NoiseSource
from fedlearn.privacy.events import SampledGaussianEvent
from fedlearn.training import fast_clip
from fedlearn.training.private import PrivateGradient
from fedlearn.training.record_privacy import RecordPrivacy, poisson_sample
from fedlearn.training.vector import FlatModel

CANARIES = 10_000
DELTA = 1e-5
SIGNIFICANCE = 1e-6


def amplified(outputs: Tensor, targets: Tensor) -> Tensor:
    """Makes every gradient three times the bound, so that clipping is at work."""
    del targets
    return 3.0 * outputs.mean()


def audit(
    *,
    noise_multiplier: float,
    rounds: int,
    executed_noise: float | None = None,
    charged: int,
    sample_rate: float = 1.0,
) -> AuditBounds:
    """Runs DP-SGD on half of the canaries and attacks what it released."""
    inside = np.random.default_rng(0).random(CANARIES) < 0.5
    records = torch.from_numpy(np.flatnonzero(inside))[:, None]
    model = FlatModel(nn.Embedding(CANARIES, 1))
    gradient = PrivateGradient(model, amplified)
    settings = RecordPrivacy(
        noise_multiplier=executed_noise or noise_multiplier,
        max_grad_norm=0.1,
        sample_rate=sample_rate,
        declared_size=CANARIES,
    )
    source = NoiseSource()
    scores = np.zeros(CANARIES)
    for _ in range(rounds):
        drawn = records[torch.from_numpy(poisson_sample(len(records), settings, source))]
        gradient.write(drawn, torch.zeros(len(drawn)), privacy=settings, noise=source)
        scores += model.gradient.numpy() * settings.expected_batch
    scores /= noise_multiplier * settings.max_grad_norm * np.sqrt(rounds)
    event = SampledGaussianEvent(noise_multiplier=noise_multiplier, sample_rate=sample_rate, steps=charged)
    return bounds_of(scores[inside], scores[~inside], event=event, delta=DELTA, significance=SIGNIFICANCE)


@pytest.mark.parametrize(("noise_multiplier", "rounds"), [(1.0, 1), (2.0, 4), (0.5, 1)])
def test_what_was_executed_is_what_was_accounted(noise_multiplier: float, rounds: int) -> None:
    found = audit(noise_multiplier=noise_multiplier, rounds=rounds, charged=rounds)
    assert not found.refuted
    assert 0.6 * found.accounted <= found.gaussian <= found.accounted
    assert found.one_run <= found.gaussian
    assert found.reachable > found.accounted


def test_a_sampled_mechanism_is_audited_as_one() -> None:
    """Read as an unsampled Gaussian, its rare large steps would look like too little noise."""
    found = audit(noise_multiplier=0.6, rounds=4, charged=4, sample_rate=0.2)
    assert not found.refuted
    assert 0.3 * found.accounted <= found.gaussian <= found.accounted


def test_half_of_the_noise_is_flagged() -> None:
    assert audit(noise_multiplier=1.0, executed_noise=0.5, rounds=1, charged=1).refuted


def test_half_of_the_noise_is_flagged_under_sampling() -> None:
    assert audit(noise_multiplier=0.6, executed_noise=0.3, rounds=4, charged=4, sample_rate=0.5).refuted


def test_missing_clipping_is_flagged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_clip, "factors_of", lambda squares, bound, rounding: torch.ones(len(squares)))
    assert audit(noise_multiplier=1.0, rounds=1, charged=1).refuted


def test_half_of_the_rounds_forgotten_is_flagged() -> None:
    assert audit(noise_multiplier=2.0, rounds=4, charged=2).refuted
