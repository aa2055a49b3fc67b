"""One release, counted per record and per client: what hides a client hides its records at half the noise."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedlearn.crypto.identity import SigningKey
from fedlearn.errors import BudgetExhausted, ConfigError
from fedlearn.privacy.accounting import epsilon
from fedlearn.privacy.budget import Budget
from fedlearn.privacy.events import DiscreteGaussianSumEvent, Event, SampledGaussianEvent
from fedlearn.privacy.guarantee import Unit
from fedlearn.privacy.ledger import Ledger
from fedlearn.privacy.mechanisms import ClippedSum
from fedlearn.privacy.policy import read_policy
from fedlearn.privacy.release import Release, counted

CLIENTS = SampledGaussianEvent(noise_multiplier=8.0, sample_rate=1.0, steps=3)
RECORDS = SampledGaussianEvent(noise_multiplier=4.0, sample_rate=1.0, steps=3)
EVENTS = [
    CLIENTS,
    DiscreteGaussianSumEvent(noise_multiplier=8.0, dimension=64, part_stddev=90.0, parts=3, steps=3),
]


def ledger_in(folder: Path, *, unit: Unit, most: float) -> Ledger:
    budgets = {"heart": Budget(epsilon=most, delta=1e-4, unit=unit)}
    key = SigningKey.generate()
    return Ledger(folder / f"{unit}.sqlite", owner="a", sign=key.sign, budgets=budgets)


def release(name: str, event: Event, unit: Unit) -> Release:
    return Release(
        id=name, run=name, round=0, dataset="heart", unit=unit, clip_norm=1.0, events=(event,), request=name
    )


@pytest.fixture
def per_record(tmp_path: Path) -> Iterator[Ledger]:
    with ledger_in(tmp_path, unit="record", most=3.0) as ledger:
        yield ledger


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("unit", ["record", "client"])
def test_a_release_counts_as_it_is_per_its_own_unit(event: Event, unit: Unit) -> None:
    assert counted(event, unit=unit, per=unit) is event


@pytest.mark.parametrize("event", EVENTS)
def test_a_record_moves_a_clipped_update_by_twice_the_bound(event: Event) -> None:
    per_record = counted(event, unit="client", per="record")
    assert per_record == replace(event, noise_multiplier=event.noise_multiplier / 2)
    assert epsilon([per_record], delta=1e-4) > epsilon([event], delta=1e-4)


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100.0))
def test_no_two_updates_of_one_client_are_further_apart(seed: int, scale: float) -> None:
    sums = ClippedSum(
        noise_multiplier=1.0, clip_norm=1.0, dimension=8, expected_weight=1.0, expected_clients=1.0
    )
    rng = np.random.default_rng(seed)
    one, other = (
        sums.contribution(rng.normal(size=8) * scale, weight=1.0, clip_norm=1.0)[0] for _ in range(2)
    )
    assert np.linalg.norm(one.astype(np.float64) - other) <= 2.0 * (1 + 1e-6)


def test_of_drawn_cohorts_nothing_is_claimed_for_records() -> None:
    drawn = replace(CLIENTS, sample_rate=0.1)
    assert counted(drawn, unit="client", per="record") == counted(CLIENTS, unit="client", per="record")


@pytest.mark.parametrize("event", EVENTS)
def test_what_hides_records_bounds_nothing_of_a_client(event: Event) -> None:
    assert math.isinf(epsilon([event, counted(RECORDS, unit="record", per="client")], delta=1e-4))


def test_a_ledger_per_record_counts_both_kinds(per_record: Ledger) -> None:
    per_record.reserve(release("a", CLIENTS, "client"))
    per_record.reserve(release("b", RECORDS, "record"))
    assert per_record.epsilon("heart") == epsilon([replace(RECORDS, steps=6)], delta=1e-4)
    with pytest.raises(BudgetExhausted, match=r"per record; the budget is 3\. Of its 9 steps 4 would fit"):
        per_record.reserve(release("c", replace(CLIENTS, steps=9), "client"))


def test_a_ledger_per_client_takes_nothing_that_protects_records_alone(tmp_path: Path) -> None:
    with ledger_in(tmp_path, unit="client", most=2.0) as ledger:
        ledger.reserve(release("a", CLIENTS, "client"))
        assert ledger.epsilon("heart") == epsilon([CLIENTS], delta=1e-4)
        with pytest.raises(BudgetExhausted, match=r"to inf at δ = 0\.0001 per client"):
            ledger.reserve(release("b", RECORDS, "record"))


def test_a_policy_says_what_epsilon_is_counted_per(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text('[datasets.heart]\nepsilon = 2.0\ndelta = 1e-4\nunit = "client"\n')
    assert read_policy(file) == {"heart": Budget(epsilon=2.0, delta=1e-4, unit="client")}
    file.write_text('[datasets.heart]\nepsilon = 2.0\ndelta = 1e-4\nunit = "site"\n')
    with pytest.raises(ConfigError, match="nothing else but unit, 'record' or 'client'"):
        read_policy(file)
