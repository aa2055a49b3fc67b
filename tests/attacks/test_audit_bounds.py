"""The bounds of an audit: what they can reach, when they raise alarm, and what they leave open."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from fedlearn.attacks.audit import AuditBounds, bounds_of, gaussian_bound, one_run_bound
from fedlearn.errors import ConfigError
from fedlearn.privacy.accounting import epsilon
from fedlearn.privacy.events import SampledGaussianEvent

ONCE = SampledGaussianEvent(noise_multiplier=1.0, sample_rate=1.0, steps=1)
SAMPLED = SampledGaussianEvent(noise_multiplier=1.0, sample_rate=0.1, steps=10)


def scores(count: int, *, shift: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(7)
    return rng.normal(shift, 1.0, count), rng.normal(0.0, 1.0, count)


def found(count: int, *, shift: float, event: SampledGaussianEvent = ONCE) -> AuditBounds:
    inside, outside = scores(count, shift=shift)
    return bounds_of(inside, outside, event=event, delta=1e-5, significance=1e-3)


def test_nothing_to_tell_gives_no_bound() -> None:
    for event in (ONCE, SAMPLED):
        nothing = found(1000, shift=0.0, event=event)
        assert nothing.gaussian < 0.6
        assert nothing.one_run == 0
        assert not nothing.refuted


def test_more_canaries_reach_further() -> None:
    few, many = found(50, shift=1.0), found(5000, shift=1.0)
    assert few.reachable < many.reachable
    assert few.gaussian < many.gaussian <= many.accounted


@pytest.mark.parametrize("event", [ONCE, SAMPLED])
def test_nothing_exceeds_what_is_reachable(event: SampledGaussianEvent) -> None:
    apart = bounds_of(np.full(200, 9.0), np.full(200, -9.0), event=event, delta=1e-5, significance=1e-3)
    assert apart.gaussian == pytest.approx(apart.reachable)
    assert apart.refuted


def test_both_bounds_agree_with_each_other_where_sampling_hides_nothing() -> None:
    """An unsampled release seen through the general bound gives nearly the closed form."""
    inside, outside = scores(4000, shift=1.0)
    almost = SampledGaussianEvent(noise_multiplier=1.0, sample_rate=1 - 1e-9, steps=1)
    closed = gaussian_bound(inside, outside, event=ONCE, delta=1e-5, significance=1e-3)
    general = gaussian_bound(inside, outside, event=almost, delta=1e-5, significance=1e-3)
    assert general == pytest.approx(closed, rel=0.05)
    assert general <= closed * 1.01


def test_one_run_bound_without_delta_is_the_binomial_test() -> None:
    """With δ → 0 and all canaries guessed: the ε at which so many right guesses have the level's chance."""
    inside, outside = np.r_[np.full(90, 1.0), np.full(10, -1.0)], np.r_[np.full(90, -2.0), np.full(10, 2.0)]
    bound = one_run_bound(inside, outside, delta=1e-12, significance=0.05)
    assert bound > 0
    # At that ε the 180 right guesses of 200, or a more telling share of them, are as likely as allowed.
    shares = [(200, 180), (140, 130), (80, 70)]
    level = 0.05 / 8
    chances = [binom.sf(right - 1, count, 1 / (1 + math.exp(-bound))) for count, right in shares]
    assert min(chances) <= level * 1.01


def test_one_run_bound_is_sound_for_randomised_response() -> None:
    """Randomised response at ε = 1 tells each canary with chance e/(1+e); the bound stays below 1."""
    rng = np.random.default_rng(3)
    right = rng.random(20_000) < math.e / (1 + math.e)
    members = rng.random(20_000) < 0.5
    answers = np.where(right, members, ~members).astype(float) + rng.random(20_000) * 1e-6
    bound = one_run_bound(answers[members], answers[~members], delta=1e-9, significance=1e-4)
    assert 0.8 < bound < 1.0


def test_canaries_must_be_on_both_sides() -> None:
    with pytest.raises(ConfigError, match="3 canaries are in and 0 out"):
        bounds_of(np.ones(3), np.ones(0), event=ONCE, delta=1e-5, significance=1e-3)


def test_what_is_accounted_is_what_the_accountant_says() -> None:
    assert found(100, shift=1.0, event=SAMPLED).accounted == epsilon([SAMPLED], delta=1e-5)
