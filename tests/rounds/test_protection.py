"""Protections: what runs and what is charged are one object, and all that clients agree on is bound."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from fedlearn.crypto.identity import SigningKey
from fedlearn.errors import ConfigError
from fedlearn.privacy.events import SampledGaussianEvent
from fedlearn.rounds.protection import Protection, SecureSum
from fedlearn.secagg.fixed_point import FixedPoint
from fedlearn.secagg.parameters import parameters
from fedlearn.secagg.roster import Roster
from tests.rounds.parties import PLAN, RECORD, names_of, secure_sum_of

ROSTER = Roster(version=1, members={name: SigningKey.generate().public for name in names_of(5)})
WEIGHTS = dict.fromkeys(names_of(5), 1.0)


def test_the_event_is_that_of_the_mechanism_that_runs() -> None:
    event = Protection(weight=1.0, plan=PLAN, record=RECORD).event()
    assert event == SampledGaussianEvent(
        noise_multiplier=RECORD.noise_multiplier, sample_rate=RECORD.sample_rate, steps=PLAN.steps
    )


def test_without_dp_there_is_no_event() -> None:
    assert Protection(weight=1.0, plan=PLAN).event() is None


@pytest.mark.parametrize("weight", [0.0, -0.5, 1.0 + 2**-52, float("nan"), float("inf")])
def test_a_weight_outside_its_range_is_refused(weight: float) -> None:
    with pytest.raises(ConfigError, match=r"weight=.* must lie in \(0, 1\]"):
        Protection(weight=weight, plan=PLAN)


def test_equal_agreements_have_equal_digests_in_any_process() -> None:
    assert (
        secure_sum_of(ROSTER, WEIGHTS).configuration_digest
        == secure_sum_of(ROSTER, WEIGHTS).configuration_digest
    )


@pytest.mark.parametrize(
    "change",
    [
        {"weights": tuple(sorted({**WEIGHTS, "client-0": 0.5}.items()))},
        {"parameters": parameters(5, colluders=1, min_survivors=5)},
        {"encoding": FixedPoint.for_exact_sum(clients=5, value_range=4.0, modulus_bits=32)},
        {"encoding": FixedPoint.for_exact_sum(clients=5, value_range=8.0, modulus_bits=16)},
    ],
    ids=["weights", "parameters", "range", "modulus"],
)
def test_any_other_agreement_has_another_digest(change: dict[str, Any]) -> None:
    agreed = secure_sum_of(ROSTER, WEIGHTS)
    changed: SecureSum = dataclasses.replace(agreed, **change)
    assert changed.configuration_digest != agreed.configuration_digest
    assert len(agreed.configuration_digest) == 32
