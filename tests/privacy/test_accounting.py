"""The accountant against closed forms, published values, other accountants and its own inverses."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import permutations
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from fedlearn.errors import ConfigError, TargetUnreachable
from fedlearn.privacy import accounting, calibration, composition, discrete_sums
from fedlearn.privacy.account import Account
from fedlearn.privacy.accounting import epsilon, epsilon_rdp
from fedlearn.privacy.calibration import calibrate_noise, calibrate_sample_rate, calibrate_steps
from fedlearn.privacy.events import DiscreteGaussianSumEvent, SampledGaussianEvent, event_from_dict


def sampled(noise_multiplier: float, sample_rate: float, steps: int) -> SampledGaussianEvent:
    return SampledGaussianEvent(noise_multiplier=noise_multiplier, sample_rate=sample_rate, steps=steps)


@pytest.mark.parametrize(("rounds", "known"), [(1, 1.55), (10, 4.12), (60, 11.06), (100, 15.14)])
def test_ten_rounds_cost_more_than_one(rounds: int, known: float) -> None:
    """600 records in batches of 32 (rounded to a rate of 1/19), σ 1, one pass a round, δ 1e-4."""
    assert epsilon([sampled(1.0, 1 / 19, 19 * rounds)], delta=1e-4) == pytest.approx(known, abs=0.005)


@pytest.mark.parametrize(
    ("event", "delta", "known"),
    [
        # Abadi et al. (2016): 1.26 by moments; PLD is tighter.
        (sampled(4.0, 0.01, 10_000), 1e-5, 0.947),
        # TensorFlow Privacy's MNIST tutorial: batch 250, σ 1.3, 15 passes; published as 1.19 by RDP.
        (sampled(1.3, 250 / 60_000, 3600), 1e-5, 0.853),
        # Opacus' PRV accountant gives 2.826.
        (sampled(1.0, 256 / 60_000, 14_000), 1e-5, 2.816),
    ],
)
def test_published_settings(event: SampledGaussianEvent, delta: float, known: float) -> None:
    assert epsilon([event], delta=delta) == pytest.approx(known, rel=0.002)


def test_exact_for_one_sampled_step() -> None:
    """δ(ε) of one sampled Gaussian by its definition: the larger hockey-stick divergence of the two sides."""
    sigma, rate, delta = 0.8, 0.2, 1e-3

    def delta_removal(eps: float) -> float:
        # (1-q) N(0) + q N(1) against N(0): the loss passes ε at a single point.
        edge = sigma**2 * math.log((math.exp(eps) - 1 + rate) / rate) + 0.5
        mixture = (1 - rate) * norm.sf(edge / sigma) + rate * norm.sf((edge - 1) / sigma)
        return float(mixture - math.exp(eps) * norm.sf(edge / sigma))

    low, high = 0.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if delta_removal(middle) > delta else (low, middle)
    assert high <= epsilon([sampled(sigma, rate, 1)], delta=delta) <= high * 1.001


@pytest.mark.parametrize(("sigma", "steps", "delta"), [(1.0, 1, 1e-5), (4.0, 20, 1e-5), (10.0, 100, 1e-4)])
def test_unsampled_gaussian_is_the_closed_form(sigma: float, steps: int, delta: float) -> None:
    """Balle & Wang (2018), Theorem 8, evaluated at the ε that is claimed."""
    claimed = epsilon([sampled(sigma, 1.0, steps)], delta=delta)
    mu = math.sqrt(steps) / sigma
    spent = norm.cdf(mu / 2 - claimed / mu) - math.exp(claimed) * norm.cdf(-mu / 2 - claimed / mu)
    assert spent == pytest.approx(delta, rel=1e-6)


def test_opacus_prv_accountant_agrees() -> None:
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    accountant.history = [(1.0, 1 / 19, 190)]
    theirs = accountant.get_epsilon(1e-4, eps_error=0.01)
    assert epsilon([sampled(1.0, 1 / 19, 190)], delta=1e-4) == pytest.approx(theirs, abs=0.011)


settings_of_training = st.tuples(
    st.floats(0.5, 8.0), st.sampled_from([0.01, 0.1, 0.4, 1.0]), st.integers(1, 300)
)


@settings(max_examples=6)
@given(settings_of_training)
def test_rdp_is_never_below(setting: tuple[float, float, int]) -> None:
    event = sampled(*setting)
    assert epsilon_rdp([event], delta=1e-5) >= epsilon([event], delta=1e-5) * (1 - 1e-3)


@settings(max_examples=6)
@given(settings_of_training)
def test_more_steps_more_sampling_or_less_noise_cost_more(setting: tuple[float, float, int]) -> None:
    noise, rate, steps = setting
    base = epsilon([sampled(noise, rate, steps)], delta=1e-5)
    slack = 1 - 1e-3
    assert epsilon([sampled(noise, rate, 2 * steps)], delta=1e-5) >= base * slack
    assert epsilon([sampled(noise, min(1.0, 2 * rate), steps)], delta=1e-5) >= base * slack
    assert epsilon([sampled(noise / 1.5, rate, steps)], delta=1e-5) >= base * slack
    assert epsilon([sampled(noise, rate, steps)], delta=1e-6) >= base * slack


def test_order_and_grouping_do_not_matter() -> None:
    parts = [sampled(1.0, 0.1, 5), sampled(2.0, 0.1, 7), sampled(3.0, 1.0, 2)]
    whole = epsilon(parts, delta=1e-5)
    assert {epsilon(order, delta=1e-5) for order in permutations(parts)} == {whole}
    split = [sampled(1.0, 0.1, 2), sampled(1.0, 0.1, 3), *parts[1:]]
    assert epsilon(split, delta=1e-5) == whole
    assert whole > epsilon(parts[:2], delta=1e-5)


def test_equal_mechanisms_in_two_forms_cost_the_same() -> None:
    """Four unsampled releases at σ 4 are one at σ 2, alone or beside sampled steps."""
    beside = sampled(1.0, 0.05, 50)
    four, one = sampled(4.0, 1.0, 4), sampled(2.0, 1.0, 1)
    assert epsilon([beside, four], delta=1e-5) == pytest.approx(epsilon([beside, one], delta=1e-5), rel=1e-9)


def test_ends_of_the_scale() -> None:
    assert epsilon([], delta=1e-5) == 0
    assert epsilon_rdp([], delta=1e-5) == 0
    assert math.isinf(epsilon([sampled(0.0, 0.5, 1)], delta=1e-5))
    assert epsilon([sampled(30.0, 0.01, 100)], delta=1e-5) == pytest.approx(0.0080, abs=0.0004)
    for delta in (0.0, 1.0, -1e-5, math.nan):
        with pytest.raises(ConfigError, match="delta"):
            epsilon([sampled(1.0, 0.5, 1)], delta=delta)


def test_noise_is_calibrated_to_the_last_digit() -> None:
    target = {"delta": 1e-4, "sample_rate": 1 / 19, "steps": 95}
    noise = calibrate_noise(epsilon=2.0, **target)  # type: ignore[arg-type]
    assert epsilon([sampled(noise, 1 / 19, 95)], delta=1e-4) <= 2.0
    assert epsilon([sampled(noise - 0.001, 1 / 19, 95)], delta=1e-4) > 2.0
    assert float(f"{noise:.4g}") == noise
    assert noise == pytest.approx(1.230, abs=0.006)  # Opacus' PRV calibration


def test_steps_are_calibrated_to_the_last_one() -> None:
    steps = calibrate_steps(epsilon=4.13, delta=1e-4, sample_rate=1 / 19, noise_multiplier=1.0)
    assert epsilon([sampled(1.0, 1 / 19, steps)], delta=1e-4) <= 4.13
    assert epsilon([sampled(1.0, 1 / 19, steps + 1)], delta=1e-4) > 4.13
    assert 190 <= steps < 195


def test_sample_rate_is_calibrated_to_the_last_digit() -> None:
    rate = calibrate_sample_rate(epsilon=4.1225, delta=1e-4, noise_multiplier=1.0, steps=190)
    assert rate == pytest.approx(1 / 19, rel=2e-3)
    assert epsilon([sampled(1.0, rate, 190)], delta=1e-4) <= 4.1225
    assert calibrate_sample_rate(epsilon=50, delta=1e-4, noise_multiplier=10, steps=1) == 1.0


@contextmanager
def noted_accountings() -> Iterator[list[float]]:
    """Notes every ε that is worked out."""
    found: list[float] = []

    def noted(events: Iterable[SampledGaussianEvent], *, delta: float) -> float:
        found.append(epsilon(events, delta=delta))
        return found[-1]

    with mock.patch.object(accounting, "epsilon", noted):
        yield found


@given(target=st.floats(0.05, 50.0), steps=st.integers(1, 10_000))
def test_noise_is_the_least_on_its_grid(target: float, steps: int) -> None:
    with noted_accountings() as found:
        try:
            noise = calibrate_noise(epsilon=target, delta=1e-5, sample_rate=1.0, steps=steps)
        except TargetUnreachable:
            noise = 1000.0
    assert len(found) <= 24
    below = calibration._grid_value(calibration._grid_index(noise) - 1)
    assert 0.9985 * noise < below < noise
    assert noise == 0.1 or epsilon([sampled(below, 1.0, steps)], delta=1e-5) > target
    assert noise == 1000.0 or epsilon([sampled(noise, 1.0, steps)], delta=1e-5) <= target


@pytest.mark.parametrize("target", [0.3, 1.0, 3.0, 8.0])
@pytest.mark.parametrize("steps", [1, 30, 300, 3000])
def test_noise_is_found_by_few_accountings(target: float, steps: int) -> None:
    """Halving the same intervals takes 13 to 18."""
    with noted_accountings() as found:
        calibrate_noise(epsilon=target, delta=1e-5, sample_rate=1.0, steps=steps)
    assert len(found) <= 10


def test_calibration_never_goes_below_the_least_noise() -> None:
    assert calibrate_noise(epsilon=1e6, delta=1e-4, sample_rate=1.0, steps=1) == 0.1


def test_targets_out_of_reach_say_what_could_be_met() -> None:
    with pytest.raises(TargetUnreachable, match=r"epsilon=0\.001 .* still spends 0\.\d+\. Take fewer steps"):
        calibrate_noise(epsilon=0.001, delta=1e-5, sample_rate=1.0, steps=10_000)
    with pytest.raises(TargetUnreachable, match=r"allows no step: one at noise_multiplier=1.* spends 4\.38"):
        calibrate_steps(epsilon=1.0, delta=1e-5, sample_rate=1.0, noise_multiplier=1.0)
    with pytest.raises(TargetUnreachable, match="still spends"):
        calibrate_sample_rate(epsilon=1e-4, delta=1e-9, noise_multiplier=0.3, steps=1_000)


def test_equal_histories_are_composed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    composed = []
    original = composition._composed

    def spy(event: SampledGaussianEvent, interval: float) -> object:
        composed.append(event)
        return original(event, interval)

    monkeypatch.setattr(composition, "_composed", spy)
    accounts = [Account() for _ in range(50)]
    for _ in range(3):
        for account in accounts:
            account.charge(sampled(1.234, 0.05, 20))
            account.epsilon(delta=1e-5)
    assert [event.steps for event in composed] == [20, 40, 60]


def test_account_survives_json_and_goes_on() -> None:
    account = Account([sampled(1.0, 1 / 19, 95)])
    restored = Account.from_dict(json.loads(json.dumps(account.to_dict())))
    restored.charge(sampled(1.0, 1 / 19, 95))
    assert restored.epsilon(delta=1e-4) == pytest.approx(4.12, abs=0.005)
    assert account.projected_epsilon(sampled(1.0, 1 / 19, 95), delta=1e-4) == restored.epsilon(delta=1e-4)
    assert account.steps == 95
    with pytest.raises(ConfigError, match="account schema 2"):
        Account.from_dict({"schema": 2, "events": []})


@pytest.mark.parametrize(
    "field", [{"noise_multiplier": -1.0}, {"sample_rate": 0.0}, {"sample_rate": 1.1}, {"steps": 0}]
)
def test_events_that_cannot_have_happened_are_refused(field: dict[str, float]) -> None:
    values = {"noise_multiplier": 1.0, "sample_rate": 0.5, "steps": 1, **field}
    with pytest.raises(ConfigError, match=next(iter(field))):
        SampledGaussianEvent(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "values", [{"kind": "laplace"}, {}, {"kind": "sampled-gaussian", "noise_multiplier": 1.0, "colour": 2}]
)
def test_events_that_cannot_be_read_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="event"):
        event_from_dict(values)


def summed(
    noise_multiplier: float, *, part_stddev: float = 500.0, steps: int = 10
) -> DiscreteGaussianSumEvent:
    return DiscreteGaussianSumEvent(
        noise_multiplier=noise_multiplier, dimension=8192, part_stddev=part_stddev, parts=90, steps=steps
    )


class TestSumsOfDiscreteGaussians:
    @pytest.mark.parametrize("noise_multiplier", [1.0, 4.0, 20.0])
    def test_they_cost_what_central_noise_of_the_same_scale_costs(self, noise_multiplier: float) -> None:
        central = sampled(noise_multiplier, 1.0, 10)
        assert epsilon([central], delta=1e-5) <= epsilon([summed(noise_multiplier)], delta=1e-5)
        assert epsilon([summed(noise_multiplier)], delta=1e-5) == pytest.approx(
            epsilon([central], delta=1e-5), rel=0.03
        )

    @pytest.mark.parametrize("noise_multiplier", [1.0, 4.0, 20.0])
    def test_the_published_bound_is_an_upper_bound_of_its_own(self, noise_multiplier: float) -> None:
        event = summed(noise_multiplier)
        published = epsilon_rdp([event], delta=1e-5)
        central = epsilon_rdp([sampled(noise_multiplier, 1.0, 10)], delta=1e-5)
        # τ vanishes where parts are wide; what is left above the Gaussian is the sampler's distance, in δ.
        assert central <= published <= 1.01 * central
        assert epsilon([event], delta=1e-5) <= published

    def test_narrow_parts_cost_more_and_never_less(self) -> None:
        widths = [0.4, 0.6, 0.8, 1.0, 2.0]
        spent = [epsilon_rdp([summed(4.0, part_stddev=width)], delta=1e-5) for width in widths]
        assert spent == sorted(spent, reverse=True)
        assert spent[0] > 2 * spent[-1]

    def test_where_coordinates_are_many_the_published_bound_is_reported(self) -> None:
        event = DiscreteGaussianSumEvent(
            noise_multiplier=4.0, dimension=1 << 22, part_stddev=20.0, parts=90, steps=100
        )
        assert epsilon([event], delta=1e-5) == epsilon_rdp([event], delta=1e-5)

    def test_the_formula_of_the_paper(self) -> None:
        """Theorem 1 of Kairouz et al. 2021, term by term."""
        sigma, parts, dimension = 0.7, 5, 1000
        tau = 10 * sum(math.exp(-2 * math.pi**2 * sigma**2 * k / (k + 1)) for k in range(1, parts))
        inverse = 1 / 3.0
        expected = min(math.sqrt(inverse**2 + tau * dimension / 2), inverse + tau * math.sqrt(dimension))
        assert discrete_sums.concentrated(
            noise_multiplier=3.0, part_stddev=sigma, parts=parts, dimension=dimension
        ) == pytest.approx(expected, rel=1e-12)

    @pytest.mark.parametrize("parts", [1, 2, 31, 32, 33, 34, 500])
    def test_the_short_sum_is_never_below_the_long_one(self, parts: int) -> None:
        sigma = 0.5
        long = 10 * sum(math.exp(-2 * math.pi**2 * sigma**2 * k / (k + 1)) for k in range(1, parts))
        short = discrete_sums.convolution(part_stddev=sigma, parts=parts)
        assert long * (1 - 1e-12) <= short <= long * 1.2

    def test_kinds_compose_and_round_trip(self) -> None:
        account = Account([summed(4.0), sampled(6.0, 1.0, 1), summed(4.0)])
        assert Account.from_dict(account.to_dict()).events == account.events
        assert account.steps == 21
        together = account.epsilon(delta=1e-5)
        assert together > epsilon([summed(4.0, steps=20)], delta=1e-5)
        central = [sampled(4.0, 1.0, 20), sampled(6.0, 1.0, 1)]
        assert together == pytest.approx(epsilon(central, delta=1e-5), rel=0.03)

    def test_sampled_sums_are_near_to_sampled_gaussians(self) -> None:
        event = DiscreteGaussianSumEvent(
            noise_multiplier=2.0, dimension=512, part_stddev=500.0, parts=90, sample_rate=0.1, steps=50
        )
        assert epsilon([event], delta=1e-5) == pytest.approx(
            epsilon([sampled(2.0, 0.1, 50)], delta=1e-5), rel=0.01
        )
