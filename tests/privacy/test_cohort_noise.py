"""Noise shared over a cohort: its size, its law, and the ε charged for it, against exact sums of weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chi2

from fedlearn.crypto.noise import NoiseSource
from fedlearn.errors import ConfigError
from fedlearn.privacy.accounting import epsilon, epsilon_rdp
from fedlearn.privacy.cohort_noise import CohortNoise, finest_resolution
from fedlearn.privacy.events import SampledGaussianEvent, event_from_dict, grouped

FALSE_ALARM = 1e-6


def _noise(**changes: float) -> CohortNoise:
    values = {
        "noise_multiplier": 1.0,
        "clip_norm": 1.0,
        "dimension": 20,
        "fractional_bits": 20,
        "min_survivors": 4,
        "colluders": 1,
    }
    return CohortNoise(**{**values, **changes})  # type: ignore[arg-type]


def _sum_of_parts(mechanism: CohortNoise, parts: int, *, scale: float = 1.0) -> NDArray[np.float64]:
    """Returns the noise of some clients' sum in units of the sensitivity."""
    total = sum(mechanism.part(np.zeros(mechanism.dimension), NoiseSource()) for _ in range(parts))
    return scale * np.asarray(total, np.float64) / mechanism.sensitivity


def _too_small(noise: NDArray[np.float64], *, stddev: float) -> bool:
    """Whether noise of this stddev would be so small with a chance of a millionth only."""
    return bool(np.square(noise / stddev).sum() < chi2.ppf(FALSE_ALARM, noise.size))


class TestParts:
    def test_the_fewest_honest_survivors_alone_bring_the_whole_noise(self) -> None:
        mechanism = _noise(dimension=20_000, noise_multiplier=3.0)
        noise = _sum_of_parts(mechanism, 3)
        assert not _too_small(noise, stddev=3.0)
        # And no more than that: what is too much costs accuracy.
        assert np.square(noise / 3.0).sum() < chi2.isf(FALSE_ALARM, noise.size)

    def test_a_colluders_part_that_was_counted_in_is_found(self) -> None:
        forgetful = _noise(dimension=20_000, noise_multiplier=3.0, colluders=0)
        what_the_colluder_cannot_subtract = _sum_of_parts(forgetful, 3)
        assert _too_small(what_the_colluder_cannot_subtract, stddev=3.0)

    def test_half_the_noise_is_found(self) -> None:
        assert _too_small(_sum_of_parts(_noise(dimension=20_000), 3, scale=0.5), stddev=1.0)

    def test_a_client_without_records_adds_its_part_all_the_same(self) -> None:
        source = NoiseSource()
        first, second = (_noise().part(np.zeros(20), source) for _ in range(2))
        assert source.draws == 2
        assert (first != second).any()

    @settings(max_examples=50)
    @given(seed=st.integers(0, 10**6), bits=st.integers(8, 24), clip=st.floats(0.25, 4.0))
    def test_one_record_moves_the_rounded_sum_by_the_sensitivity_at_most(
        self, seed: int, bits: int, clip: float
    ) -> None:
        mechanism = _noise(fractional_bits=bits, clip_norm=clip, noise_multiplier=300.0)
        rng = np.random.default_rng(seed)
        rest, record = rng.normal(size=20) * 50, rng.normal(size=20)
        record *= clip / np.linalg.norm(record)
        key = ("parts", seed)
        moved = mechanism.part(rest + record, NoiseSource.reproducible_from(*key)) - mechanism.part(
            rest, NoiseSource.reproducible_from(*key)
        )
        assert np.linalg.norm(moved.astype(float)) <= mechanism.sensitivity

    def test_a_sum_that_is_not_finite_never_leaves(self) -> None:
        with pytest.raises(ConfigError, match="finite"):
            _noise().part(np.full(20, np.nan), NoiseSource())

    @pytest.mark.parametrize(
        ("changes", "named"),
        [
            ({"colluders": 4}, "colluders=4"),
            ({"colluders": -1}, "colluders=-1"),
            ({"fractional_bits": 2}, "stddev"),
            ({"fractional_bits": 45}, "stddev"),
            ({"noise_multiplier": 0.0}, "noise_multiplier=0"),
        ],
    )
    def test_what_protects_nobody_is_refused(self, changes: dict[str, float], named: str) -> None:
        with pytest.raises(ConfigError, match=named):
            _noise(**changes)


class TestCharge:
    def test_ignoring_one_colluder_of_four_prints_3_14_where_3_75_is_spent(self) -> None:
        promised = _noise(colluders=0)
        known = _noise(colluders=1).part_stddev / promised.part_stddev
        left = CohortNoise(
            noise_multiplier=1.0 / known,
            clip_norm=1.0,
            dimension=20,
            fractional_bits=20,
            min_survivors=4,
            colluders=1,
        )
        assert round(epsilon([promised.event()], delta=1e-3), 2) == 3.14
        assert round(epsilon([left.event()], delta=1e-3), 2) == 3.75
        assert left.part_stddev == pytest.approx(promised.part_stddev)

    def test_noise_that_is_nearly_gaussian_costs_nearly_the_same(self) -> None:
        mechanism = _noise()
        exact = SampledGaussianEvent(noise_multiplier=1.0, sample_rate=1.0, steps=1)
        assert 0 < mechanism.log_ratio < 1e-10
        assert 0 < mechanism.distance < 1e-19
        excess = epsilon([mechanism.event()], delta=1e-5) - epsilon([exact], delta=1e-5)
        assert 0 <= excess < 1e-4

    def test_a_distance_beyond_delta_leaves_no_guarantee(self) -> None:
        event = SampledGaussianEvent(noise_multiplier=1.0, sample_rate=1.0, steps=2, distance=1e-6)
        assert math.isinf(epsilon([event], delta=1e-6))
        assert math.isfinite(epsilon([event], delta=1e-2))

    def test_a_million_coordinates_and_a_large_epsilon_are_within_reach(self) -> None:
        large = _noise(dimension=10**6, fractional_bits=24, noise_multiplier=4.0)
        plain = SampledGaussianEvent(noise_multiplier=4.0, sample_rate=1.0, steps=100)
        charged = epsilon([large.event()] * 100, delta=1e-5)
        assert 10 < charged < epsilon([plain], delta=1e-5) + 0.02

    def test_distances_are_grouped_and_kept_in_the_account(self) -> None:
        event = _noise().event(sample_rate=0.5)
        assert grouped([event, event])[0].steps == 2
        assert event_from_dict(event.to_dict()) == event
        assert (
            "distance" not in SampledGaussianEvent(noise_multiplier=1.0, sample_rate=1.0, steps=1).to_dict()
        )

    @pytest.mark.parametrize("honest", [1, 2, 3])
    @pytest.mark.parametrize("rate", [1.0, 0.25])
    @pytest.mark.parametrize("delta", [1e-3, 1e-5])
    def test_the_charge_covers_the_exact_loss_of_integer_noise(
        self, honest: int, rate: float, delta: float
    ) -> None:
        """One coordinate: hockey-stick divergences of the very weights, both ways, for the largest shift."""
        mechanism = _noise(
            dimension=1, fractional_bits=9, min_survivors=honest, colluders=0, noise_multiplier=1.2
        )
        charged = epsilon([mechanism.event(sample_rate=rate)], delta=delta)
        plain = _law(mechanism.part_stddev, honest)
        shifted = np.roll(plain, math.floor(mechanism.sensitivity))
        mixed = rate * shifted + (1 - rate) * plain
        spent = max(_divergence(mixed, plain, charged), _divergence(plain, mixed, charged))
        assert spent <= delta
        # Not by far too much: nothing is charged twice.
        assert (
            max(_divergence(mixed, plain, 0.97 * charged), _divergence(plain, mixed, 0.97 * charged)) > delta
        )

    @pytest.mark.parametrize("steps", [1, 30])
    def test_the_published_bound_for_sums_of_discrete_gaussians_is_the_same_or_larger(
        self, steps: int
    ) -> None:
        """Kairouz, Liu and Steinke 2021, Theorem 1, in Rényi form: α/2 · (Δ/stddev + √d·τ)², no sampling."""
        mechanism = _noise(noise_multiplier=8.0)
        events = [mechanism.event()] * steps
        variance, parts = mechanism.part_stddev**2, mechanism.honest
        tau = 10 * sum(math.exp(-2 * math.pi**2 * variance * k / (k + 1)) for k in range(1, parts))
        mu = mechanism.sensitivity / (math.sqrt(parts) * mechanism.part_stddev)
        mu += math.sqrt(mechanism.dimension) * tau
        published = _from_concentrated(steps * mu**2 / 2, delta=1e-5)
        assert epsilon(events, delta=1e-5) <= published
        assert epsilon_rdp(events, delta=1e-5) == pytest.approx(published, rel=0.02)


class TestResolution:
    def test_it_is_the_finest_that_does_not_wrap(self) -> None:
        values = {"largest_sum": 600.0, "noise_multiplier": 15.0, "clip_norm": 1.0, "parts": 4, "honest": 3}
        bits = finest_resolution(**values, modulus_bits=32)  # type: ignore[arg-type]
        reach = (600 + 6.5 * 15 * math.sqrt(4 / 3)) * 2.0**bits
        assert reach <= 2**31 < 2 * reach
        assert finest_resolution(**values, modulus_bits=16) == bits - 16  # type: ignore[arg-type]


def _law(stddev: float, parts: int) -> NDArray[np.float64]:
    """Returns the weights of a sum of discrete Gaussians on a wide cyclic grid."""
    size = 2 ** math.ceil(math.log2(40 * stddev * math.sqrt(parts)))
    steps = np.minimum(np.arange(size), size - np.arange(size))
    one = np.exp(-np.square(steps / stddev) / 2)
    one /= one.sum()
    total = np.zeros(size)
    total[0] = 1.0
    for _ in range(parts):
        total = np.clip(np.fft.irfft(np.fft.rfft(total) * np.fft.rfft(one), size), 0.0, None)
    return total


def _divergence(one: NDArray[np.float64], other: NDArray[np.float64], epsilon: float) -> float:
    return float(np.clip(one - math.exp(epsilon) * other, 0.0, None).sum())


def _from_concentrated(rho: float, *, delta: float) -> float:
    """Returns the least ε over orders of concentrated DP (Canonne, Kamath and Steinke 2020, Prop. 12)."""
    orders = 1.0 + np.logspace(-3, 3, 20_000)
    values = orders * rho + (math.log(1 / delta) - np.log(orders)) / (orders - 1) + np.log1p(-1 / orders)
    return float(values.min())
