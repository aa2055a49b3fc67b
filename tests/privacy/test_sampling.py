"""Cohorts: drawn as the accountant assumes, amplified for those alone who see none of them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy.stats import binom

from fedlearn.crypto.noise import NoiseSource
from fedlearn.errors import ConfigError, SamplerMismatch
from fedlearn.privacy.accounting import epsilon
from fedlearn.privacy.events import SampledGaussianEvent
from fedlearn.privacy.sampling import CohortSampling

ROUND = SampledGaussianEvent(noise_multiplier=1.0, sample_rate=1.0, steps=1)


def sampling(*, poisson: bool = True, least: int = 0, most: int = 1000) -> CohortSampling:
    return CohortSampling(clients=1000, rate=0.1, poisson=poisson, least=least, most=most)


def spent(made: CohortSampling, rounds: int, delta: float = 1000**-1.1) -> float:
    return epsilon([dataclasses.replace(made.amplified(ROUND), steps=rounds)], delta=delta)


def test_the_measured_value_of_a_thousand_clients() -> None:
    """σ 1, 1,000 clients, cohorts of 100, 1,000 rounds, δ = n^−1.1: 20.63 by PLD, 603 without sampling."""
    assert spent(sampling(), 1000) == pytest.approx(20.63, abs=0.02)
    unsampled = dataclasses.replace(ROUND, steps=1000)
    assert epsilon([unsampled], delta=1000**-1.1) == pytest.approx(603, abs=1)


def test_fixed_cohorts_earn_nothing() -> None:
    with pytest.raises(SamplerMismatch, match=r"cohort.sampling='fixed'.*set cohort.sampling='poisson'"):
        sampling(poisson=False).amplified(ROUND)


def test_sampling_is_not_claimed_twice() -> None:
    with pytest.raises(SamplerMismatch, match=r"sample_rate=0.5"):
        sampling().amplified(dataclasses.replace(ROUND, sample_rate=0.5))


class TestTruncation:
    def test_it_is_the_larger_of_both_neighbours(self) -> None:
        made = sampling(least=60, most=160)
        tails = [binom(n, 0.1).cdf(59) + binom(n, 0.1).sf(160) for n in (1000, 999)]
        assert made.truncation == pytest.approx(max(tails), rel=1e-9)
        assert sampling().truncation == 0.0

    def test_it_is_added_to_delta_as_odds_of_either_side(self) -> None:
        """(ε, δ) of the ideal sampler is (ε, δ + (1 + e^ε)·rounds·τ) of the truncated one."""
        made, rounds, delta = sampling(least=50, most=160), 20, 1e-3
        truncated = spent(made, rounds, delta)
        ideal_delta = delta - (1 + math.exp(truncated)) * rounds * made.truncation
        assert 0 < ideal_delta < delta
        assert truncated == pytest.approx(spent(sampling(), rounds, ideal_delta), rel=1e-4)
        assert truncated > spent(sampling(), rounds, delta)

    def test_a_floor_that_is_often_missed_leaves_no_guarantee(self) -> None:
        assert spent(sampling(least=95), 20, 1e-3) == math.inf

    def test_limits_outside_the_population_are_refused(self) -> None:
        with pytest.raises(ConfigError, match="do not fit"):
            sampling(least=10, most=1001)


def test_each_client_enters_by_its_own_coin() -> None:
    """4,000 draws: inclusion 0.1 within 5.5 standard deviations; pairs independent likewise."""
    made = CohortSampling(clients=6, rate=0.1, poisson=True, least=0, most=6)
    names = [f"client-{n}" for n in range(6)]
    coins = NoiseSource.reproducible_from("cohorts")
    drawn = np.array(
        [[name in cohort for name in names] for cohort in (made.draw(names, coins) for _ in range(4000))]
    )
    assert (np.abs(drawn.mean(axis=0) - 0.1) < 5.5 * math.sqrt(0.09 / 4000)).all()
    pairs = (drawn.astype(float).T @ drawn) / 4000
    off = pairs[~np.eye(6, dtype=bool)]
    assert (np.abs(off - 0.01) < 5.5 * math.sqrt(0.0099 / 4000)).all()
    assert (drawn.sum(axis=1) == 0).any(), "an empty cohort is a cohort"
