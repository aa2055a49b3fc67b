"""An ε is never shown without its meaning, and bounds every attacker."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from fedlearn.errors import ConfigError
from fedlearn.privacy.accounting import epsilon
from fedlearn.privacy.events import SampledGaussianEvent
from fedlearn.privacy.guarantee import PrivacyGuarantee

GUARANTEE = PrivacyGuarantee(
    epsilon=4.1221,
    delta=1e-4,
    unit="record",
    noise="local",
    adversary="the server, other clients and whoever receives the model",
    accountant="PLD",
    scope="10 rounds",
)


@pytest.mark.parametrize(
    "part", ["ε = 4.12", "δ = 0.0001", "per record", "add-remove", "local", "the server", "10 rounds", "PLD"]
)
def test_printed_epsilon_carries_its_meaning(part: str) -> None:
    assert part in str(GUARANTEE)


def test_infinite_epsilon_reads_as_no_guarantee() -> None:
    assert "no guarantee" in str(replace(GUARANTEE, epsilon=math.inf))


@pytest.mark.parametrize(
    "change",
    [
        {"epsilon": -0.1},
        {"epsilon": math.nan},
        {"delta": 1.5},
        {"unit": "person"},
        {"noise": "none"},
        {"relation": "replace-one"},
    ],
)
def test_nonsense_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        replace(GUARANTEE, **change)  # type: ignore[arg-type]


@given(st.floats(0, 800), st.floats(0, 1), st.floats(0, 1))
def test_attacker_bound_is_a_rate_and_grows(budget: float, delta: float, fpr: float) -> None:
    guarantee = replace(GUARANTEE, epsilon=budget, delta=delta)
    bound = guarantee.attacker_tpr(fpr)
    assert max(delta, fpr) - 1e-12 <= bound <= 1
    assert bound <= replace(guarantee, epsilon=budget + 1).attacker_tpr(fpr)
    assert bound <= guarantee.attacker_tpr(min(1.0, fpr + 0.1))


def test_attacker_bound_at_its_ends() -> None:
    assert GUARANTEE.attacker_tpr(0.0) == GUARANTEE.delta
    assert GUARANTEE.attacker_tpr(1.0) == 1.0
    assert replace(GUARANTEE, epsilon=math.inf).attacker_tpr(0.0) == 1.0
    assert GUARANTEE.attacker_tpr(0.001) == pytest.approx(math.exp(4.1221) * 0.001 + 1e-4)


@pytest.mark.parametrize("noise_multiplier", [0.5, 1.0, 3.0])
def test_best_test_against_the_gaussian_stays_below_the_bound(noise_multiplier: float) -> None:
    """The likelihood-ratio test (Neyman–Pearson) against one release, which no attacker beats."""
    event = SampledGaussianEvent(noise_multiplier=noise_multiplier, sample_rate=1.0, steps=1)
    guarantee = replace(GUARANTEE, epsilon=epsilon([event], delta=1e-5), delta=1e-5)
    for fpr in np.geomspace(1e-6, 0.5, 30):
        best = norm.sf(norm.isf(fpr) - 1 / noise_multiplier)
        assert best <= guarantee.attacker_tpr(float(fpr)) + 1e-12
