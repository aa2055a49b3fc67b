"""What every registered attack must hold; a newly registered one is covered without a new test."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fedlearn.attacks import ATTACKS
from fedlearn.attacks.scene import Attack, Scene
from fedlearn.runs.attack_report import AttackReport
from tests.attacks.scenes import PRIVATE, PRIVATE_CLIENTS, blind, scene, victim

QUICK: dict[str, dict[str, Any]] = {
    "membership": {"models": 16, "targets": 5},
    "gradient-matching": {"victims": 1, "steps": 200},
}
"""Arguments that keep a test short; an attack that is not here runs as it is."""


@pytest.fixture(params=sorted(ATTACKS))
def word(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def run(word: str, on: Scene) -> AttackReport:
    attack: Attack = ATTACKS.build(word, QUICK.get(word, {}))
    return attack.run(on, rng=np.random.default_rng(0))


class TestEveryAttack:
    def test_succeeds_where_nothing_is_protected(self, word: str) -> None:
        report = run(word, scene(victim()))
        assert report.succeeded
        assert report.value > report.null

    def test_one_who_sees_nothing_does_no_better_than_guess(self, word: str) -> None:
        report = run(word, blind(victim()))
        assert not report.succeeded
        # An AUC over 80 records spreads by some 0.03 per target around ½; a PSNR stays below the guess.
        assert report.value <= report.null + (0.1 if report.score == "auc" else 0.0)

    def test_fails_under_privacy_of_what_it_is_about(self, word: str) -> None:
        about = run(word, blind(victim())).about
        report = run(word, scene(victim(**{"a record": PRIVATE, "a client": PRIVATE_CLIENTS}[about])))
        assert not report.succeeded

    def test_says_who_sees_what_in_plain_values(self, word: str) -> None:
        report = run(word, blind(victim()))
        assert report.attack == word
        assert report.adversary
        assert AttackReport.model_validate_json(report.model_dump_json()) == report

    def test_its_own_choices_follow_its_generator(self, word: str) -> None:
        assert run(word, blind(victim())) == run(word, blind(victim()))
