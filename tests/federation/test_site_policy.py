"""Every rule of a site's policy: what breaks it alone, with the value asked and the value allowed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fedlearn.config import ExperimentConfig
from fedlearn.federation.local import policy_of
from fedlearn.federation.site.config import PolicySection
from fedlearn.federation.site.policy import RULES, Case, judge
from fedlearn.federation.terms import Schema
from tests.federation.sites import EXPERIMENT

CENTRAL = {"unit": "client", "noise": "central"}
SHARED = {"noise": "distributed"}
IDEAL = {"mode": "ideal"}
FEDERATED = {"standardise": "federated"}
PATIENTS = Schema(shape=(30,), classes=2)


def case(policy: dict[str, Any] | None = None, **changes: Any) -> Case:
    sections: dict[str, Any] = {
        key: {**EXPERIMENT.get(key, {}), **value} if isinstance(value, dict) else value
        for key, value in changes.items()
    }
    return Case(
        config=ExperimentConfig.from_dict({**EXPERIMENT, **sections}),
        policy=PolicySection(max_epsilon=4.0, max_delta=1e-3, **(policy or {})),
        served=("breast-cancer",),
        cohort=5,
        survivors=4,
        rosters=(b"r" * 32, b"r" * 32),
        sizes=(100, 100),
        schemas=(PATIENTS, PATIENTS),
        parameters=62,
        epsilon=3.0,
    )


BREACHES: dict[str, tuple[Case, str]] = {
    "dataset": (case(data={"dataset": "adult"}), "dataset: adult is asked for, breast-cancer is allowed"),
    "imports": (
        case(training={"loss": "evil.module:loss"}),
        "imports: evil.module:loss is asked for, registered names only is allowed",
    ),
    "initial_weights": (
        case(remedies={"initial": {"name": "safetensors", "arguments": {"file": "/srv/private"}}}),
        "initial_weights: initial weights from a file that any content may stand in is asked for,"
        " remedies.initial.sha256 is allowed",
    ),
    "models": (case({"models": ["mlp"]}), "models: logistic is asked for, mlp is allowed"),
    "trainers": (case({"trainers": ["adam"]}), "trainers: sgd is asked for, adam is allowed"),
    "roster": (
        replace(case(), rosters=(b"o" * 32, b"r" * 32)),
        "roster: roster 6f6f6f6f6f6f is asked for, roster 727272727272 is allowed",
    ),
    "simulation-only": (
        case(reproducible_noise=True),
        "simulation-only: reproducible_noise = true is asked for,"
        " noise keyed by the operating system is allowed",
    ),
    "require_privacy": (
        case(privacy={"enabled": False}),
        "require_privacy: no differential privacy is asked for, privacy.enabled = true is allowed",
    ),
    "unit": (case({"unit": "client"}), "unit: record is asked for, client is allowed"),
    "noise": (case(privacy=CENTRAL), "noise: central noise is asked for, local, distributed is allowed"),
    "shared_noise": (
        case({"allow_plain": True}, privacy=SHARED, secure_aggregation=IDEAL),
        "shared_noise: a share of the noise that the server sees by itself is asked for,"
        " masked secure aggregation is allowed",
    ),
    "max_delta": (case(privacy={"delta": 0.01}), "max_delta: 0.01 is asked for, at most 0.001 is allowed"),
    "max_epsilon": (
        replace(case(), epsilon=6.0),
        "max_epsilon: 6 after this run and all before it is asked for, 4 is allowed",
    ),
    "allow_plain": (
        case(secure_aggregation={"enabled": False}),
        "allow_plain: updates in the clear is asked for, masked secure aggregation is allowed",
    ),
    "min_colluders": (case({"min_colluders": 2}), "min_colluders: 1 is asked for, at least 2 is allowed"),
    "min_cohort": (replace(case(), cohort=3), "min_cohort: 3 is asked for, at least 4 is allowed"),
    "min_survivors": (
        replace(case({"min_survivors": 5}), survivors=4),
        "min_survivors: 4 is asked for, at least 5 is allowed",
    ),
    "redo_without_dp": (
        case(secure_aggregation={"redo_without_dp": True}),
        "redo_without_dp: a second masked update for one model is asked for, one is allowed",
    ),
    "max_rounds": (case({"max_rounds": 1}), "max_rounds: 2 is asked for, at most 1 is allowed"),
    "max_steps": (
        case({"max_steps": 3}, training={"local_steps": 5}),
        "max_steps: 5 is asked for, at most 3 is allowed",
    ),
    "max_parameters": (
        case({"max_parameters": 10}),
        "max_parameters: 62 is asked for, at most 10 is allowed",
    ),
    "declared_size": (replace(case(), sizes=(90, 100)), "declared_size: 90 is asked for, 100 is allowed"),
    "schema": (
        replace(case(), schemas=(Schema(shape=(31,), classes=2), PATIENTS)),
        "schema: (31,) in 2 classes is asked for, (30,) in 2 classes is allowed",
    ),
}


def test_a_proposal_within_the_policy_is_accepted() -> None:
    assert judge(case()) is None


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_is_broken_by_its_own_proposal_and_says_so(rule: str) -> None:
    asked, line = BREACHES[rule]
    breach = judge(asked)
    assert breach is not None
    assert (breach.rule, str(breach)) == (rule, line)


@pytest.mark.parametrize(
    ("policy", "changes"),
    [
        ({"allow_plain": True}, {"secure_aggregation": {"enabled": False}}),
        ({"require_privacy": False}, {"privacy": {"enabled": False}}),
        ({"redo_without_dp": True}, {"secure_aggregation": {"redo_without_dp": True}}),
        ({"imports": ["own.package:loss"]}, {"training": {"loss": "own.package:loss"}}),
        ({"models": ["logistic"], "trainers": ["sgd"]}, {}),
        ({"noise": ["central"]}, {"privacy": CENTRAL}),
        ({"unit": "client"}, {"privacy": {"unit": "client", "noise": "distributed"}}),
        ({}, {"privacy": SHARED}),
        ({"require_privacy": False}, {"data": FEDERATED, "privacy": {"statistics": "declared"}}),
    ],
)
def test_what_a_site_allows_in_writing_is_accepted(policy: dict[str, Any], changes: dict[str, Any]) -> None:
    assert judge(case(policy, **changes)) is None


@pytest.mark.parametrize(
    ("policy", "changes", "line"),
    [
        (
            {"noise": ["distributed"]},
            {},
            "noise: local noise is asked for, distributed is allowed",
        ),
        (
            {"noise": []},
            {"privacy": SHARED},
            "noise: distributed noise is asked for, none is allowed",
        ),
        (
            {"min_colluders": 2},
            {"privacy": SHARED},
            "min_colluders: 1 is asked for, at least 2 is allowed",
        ),
        (
            {"min_survivors": 5},
            {"privacy": SHARED},
            "min_survivors: 4 is asked for, at least 5 is allowed",
        ),
        (
            {"min_survivors": 5},
            {"privacy": {"unit": "client", "noise": "distributed"}},
            "min_survivors: 4 is asked for, at least 5 is allowed",
        ),
    ],
)
def test_noise_that_others_add_is_bound_by_the_sites_own_numbers(
    policy: dict[str, Any], changes: dict[str, Any], line: str
) -> None:
    assert str(judge(case(policy, **changes))) == line


def test_statistics_that_are_declared_unprotected_are_no_privacy() -> None:
    declared = case(data=FEDERATED, privacy={"statistics": "declared"})
    assert str(judge(declared)) == (
        "require_privacy: statistics that are declared unprotected is asked for,"
        " privacy.statistics = 'charged' is allowed"
    )
    assert judge(case(data=FEDERATED, privacy={"statistics": "charged"})) is None


def test_without_privacy_no_noise_is_asked_for() -> None:
    off = {"enabled": False, **CENTRAL}
    assert judge(case({"require_privacy": False}, privacy=off)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"privacy": {"enabled": False}},
        {"privacy": CENTRAL},
        {"privacy": {**CENTRAL, "against": "outsiders"}, "secure_aggregation": {"enabled": False}},
        {"privacy": {"unit": "client", "noise": "distributed"}},
        {"data": FEDERATED, "privacy": SHARED},
        {"data": FEDERATED, "privacy": {"statistics": "declared"}},
    ],
)
def test_a_federation_on_one_machine_allows_what_it_was_made_for(changes: dict[str, Any]) -> None:
    asked = case(**changes)
    made = replace(asked, policy=PolicySection(**policy_of(asked.config)))
    assert judge(made) is None


def test_ideal_mode_is_updates_in_the_clear() -> None:
    breach = judge(case(secure_aggregation={"mode": "ideal"}))
    assert breach is not None
    assert breach.rule == "allow_plain"


@pytest.mark.parametrize(
    "section",
    [
        {"model": {"name": "os:system"}},
        {"training": {"optimizer": "os:system"}},
        {"training": {"schedule": "os:system"}},
        {"algorithm": {"name": "os:system"}},
        {"aggregation": {"name": "os:system"}},
        {"metrics": ["os:system"]},
        {"data": {"partition": {"kind": "os:system", "clients": 5}}},
        {"compression": {"name": "os:system"}},
        {"remedies": {"augmentation": [{"name": "flip"}, {"name": "os:system"}]}},
        {"remedies": {"penalties": [{"name": "os:system"}]}},
        {"remedies": {"initial": {"name": "os:system", "sha256": "0" * 64}}},
        {"remedies": {"tuning": {"name": "os:system"}}},
    ],
)
def test_no_section_brings_an_import_in(section: dict[str, Any]) -> None:
    values = {
        key: {**EXPERIMENT.get(key, {}), **value} if isinstance(value, dict) else value
        for key, value in section.items()
    }
    hostile = replace(case(), config=ExperimentConfig.from_dict({**EXPERIMENT, **values}))
    breach = judge(hostile)
    assert breach is not None
    assert breach.rule == "imports"
