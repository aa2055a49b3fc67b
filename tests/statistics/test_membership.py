"""A membership test on noisy releases stays below the bound that ε gives, and above it without noise.

The strongest test there is: the adversary knows every record but one, and all that is left to tell is a
shift by the clipping bound. 20,000 games each; a check is false at most once in a million runs.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta, norm

from fedlearn.crypto.noise import NoiseSource
from fedlearn.privacy.accounting import epsilon
from fedlearn.privacy.events import SampledGaussianEvent
from fedlearn.privacy.guarantee import PrivacyGuarantee

GAMES = 20_000
DELTA = 1e-5
FPR = 0.01
LEVEL = 1e-6


def rate_found(noise_multiplier: float) -> int:
    """Returns how many of ``GAMES`` members are found by the likelihood-ratio test at ``FPR``."""
    zeros = np.zeros(GAMES, np.float32)
    with_record = NoiseSource().perturb(zeros + np.float32(1), stddev=noise_multiplier)
    threshold = noise_multiplier * norm.isf(FPR)
    return int((with_record > threshold).sum())


@pytest.mark.parametrize("noise_multiplier", [1.0, 2.0])
def test_true_positives_stay_below_the_bound(noise_multiplier: float) -> None:
    event = SampledGaussianEvent(noise_multiplier=noise_multiplier, sample_rate=1.0, steps=1)
    bound = PrivacyGuarantee(
        epsilon=epsilon([event], delta=DELTA),
        delta=DELTA,
        unit="record",
        noise="local",
        adversary="one who knows all other records",
        accountant="closed form",
        scope="one release",
    ).attacker_tpr(FPR)
    found = rate_found(noise_multiplier)
    assert beta.isf(1 - LEVEL, found, GAMES - found + 1) <= bound
    # The test is as strong as theory says, so that the bound was really put to it.
    exact = norm.sf(norm.isf(FPR) - 1 / noise_multiplier)
    assert beta.isf(1 - LEVEL, found, GAMES - found + 1) <= exact <= beta.isf(LEVEL, found + 1, GAMES - found)


def test_a_tenth_of_the_noise_breaks_the_bound() -> None:
    event = SampledGaussianEvent(noise_multiplier=2.0, sample_rate=1.0, steps=1)
    claimed = np.exp(epsilon([event], delta=DELTA)) * FPR + DELTA
    found = rate_found(0.2)
    assert beta.isf(1 - LEVEL, found, GAMES - found + 1) > claimed
