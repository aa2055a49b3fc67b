"""Whole runs with compressed updates: with both kinds of privacy, masked, and on any number of workers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedlearn.errors import ConfigError, NonLinearAggregator, PrivacyError, RunInterrupted, UnknownName
from fedlearn.experiment import Experiment
from fedlearn.simulation import simulate
from fedlearn.simulation.attack import attack
from tests.simulation.test_clock import CENTRAL, DP, StopsInRoundTwo
from tests.simulation.test_faults import MASKED, model_of

Make = Callable[..., Experiment]
PARAMETERS = 62
"""Of a logistic model of 30 features and 2 classes."""

QUANTISED = {"name": "quantise", "arguments": {"bits": 4}}
TOP = {"name": "top-k", "arguments": {"fraction": 0.1}, "error_feedback": True}
RANDOM = {"name": "random-k", "arguments": {"fraction": 0.5}}
UNIFORM = {"weights": "uniform"}
SHARED = {
    "training": {"learning_rate": 0.5, "local_steps": 1},
    "privacy": {**DP, "noise": "distributed"},
    "secure_aggregation": MASKED,
}


def test_updates_are_as_short_as_announced(experiment: Make, tmp_path: Path) -> None:
    lengths = {}
    for name, compression in (("whole", {}), ("quantised", QUANTISED), ("top", TOP), ("random", RANDOM)):
        result = simulate(experiment(compression=compression), out=tmp_path / name)
        assert result.communication is not None
        lengths[name] = result.communication.least_up
        assert result.communication.least_up == result.communication.most_up
    body = lengths["whole"] - 4 * PARAMETERS
    assert 0 < body < 100
    assert lengths["quantised"] == body + 4 + PARAMETERS // 2
    assert lengths["top"] == body + 8 * 7
    assert lengths["random"] == body + 4 * 31


@pytest.mark.slow
@pytest.mark.parametrize("compression", [QUANTISED, {**QUANTISED, "error_feedback": True}, TOP, RANDOM])
def test_a_model_is_learnt_from_short_updates(
    experiment: Make, tmp_path: Path, compression: dict[str, Any]
) -> None:
    result = simulate(experiment(compression=compression, rounds=15), out=tmp_path)
    assert result.final["accuracy"] is not None
    assert result.final["accuracy"] > 0.9


@pytest.mark.parametrize(
    "sections",
    [
        {"compression": QUANTISED, "privacy": DP},
        pytest.param({"compression": {**QUANTISED, "error_feedback": True}}, marks=pytest.mark.slow),
        {"compression": TOP, "faults": {"dropout": 0.3}},
        pytest.param({"compression": TOP, "aggregation": {"name": "median"}}, marks=pytest.mark.slow),
        {"compression": {**RANDOM, "error_feedback": True}, "privacy": DP, "secure_aggregation": MASKED},
        pytest.param(
            {"compression": RANDOM, "secure_aggregation": {**MASKED, "mode": "ideal", "modulus_bits": 16}},
            marks=pytest.mark.slow,
        ),
        {"compression": RANDOM, "privacy": CENTRAL, "aggregation": UNIFORM},
        pytest.param({"compression": RANDOM, **SHARED}, marks=pytest.mark.slow),
    ],
    ids=["dp", "feedback", "faults", "median", "masked-dp", "ideal", "client-level", "shared-noise"],
)
def test_any_number_of_workers_gives_the_same_model(
    experiment: Make, tmp_path: Path, sections: dict[str, Any]
) -> None:
    for workers in (1, 2):
        simulate(
            experiment(reproducible_noise=True, **sections), out=tmp_path / str(workers), workers=workers
        )
    assert model_of(tmp_path / "1") == model_of(tmp_path / "2")


def test_masked_and_ideal_sum_the_same_payloads(experiment: Make, tmp_path: Path) -> None:
    for mode in ("masked", "ideal"):
        simulate(
            experiment(
                reproducible_noise=True,
                compression={**RANDOM, "error_feedback": True},
                secure_aggregation={**MASKED, "mode": mode},
            ),
            out=tmp_path / mode,
        )
    assert model_of(tmp_path / "masked") == model_of(tmp_path / "ideal")


def test_compression_changes_nothing_of_what_is_spent(experiment: Make, tmp_path: Path) -> None:
    spent = [
        simulate(experiment(privacy=DP, compression=compression), out=tmp_path / str(number)).privacy
        for number, compression in enumerate(({}, TOP, QUANTISED))
    ]
    assert spent[0] == spent[1] == spent[2]


def test_what_is_unsent_survives_a_resume(experiment: Make, tmp_path: Path) -> None:
    kept = experiment(compression=TOP)
    simulate(kept, out=tmp_path / "whole")
    with pytest.raises(RunInterrupted):
        simulate(kept, out=tmp_path / "cut", progress=StopsInRoundTwo())
    simulate(kept, out=tmp_path / "cut", resume=True)
    assert model_of(tmp_path / "cut") == model_of(tmp_path / "whole")


def test_scaffold_may_be_compressed_too(experiment: Make, tmp_path: Path) -> None:
    result = simulate(
        experiment(algorithm={"name": "scaffold"}, compression={**QUANTISED, "error_feedback": True}),
        out=tmp_path,
    )
    rounds = [json.loads(line) for line in (tmp_path / "rounds.jsonl").read_text().splitlines()]
    assert result.rounds == 3
    assert all(entry["survivors"] == 5 for entry in rounds)


def test_an_attack_on_short_updates_is_refused(experiment: Make) -> None:
    with pytest.raises(ConfigError, match="attacks read whole updates"):
        attack(experiment(compression=RANDOM), "update-inversion")


@pytest.mark.parametrize(
    ("sections", "error", "said"),
    [
        ({"compression": {"name": "topk"}}, UnknownName, "Did you mean 'top-k'"),
        ({"compression": {"name": "top-k", "arguments": {"k": 5}}}, ConfigError, "takes no argument 'k'"),
        ({"compression": {"error_feedback": True}}, ConfigError, "without compression.name"),
        (
            {"compression": {"name": "top-k"}, "secure_aggregation": MASKED},
            ConfigError,
            "masked payloads of different forms cannot be added up; use 'random-k'",
        ),
        (
            {"compression": {"name": "quantise"}, "privacy": CENTRAL, "aggregation": UNIFORM},
            PrivacyError,
            "may be longer than the clipping norm that the noise is made for",
        ),
        (
            {
                "compression": {"name": "random-k", "error_feedback": True},
                "privacy": CENTRAL,
                "aggregation": UNIFORM,
            },
            PrivacyError,
            "no bound on one round's vector covers it",
        ),
        (
            {"compression": {"name": "random-k", "error_feedback": True}, **SHARED},
            PrivacyError,
            "no bound on one round's vector covers it",
        ),
        (
            {"compression": {"name": "top-k"}, "aggregation": {"name": "median"}},
            NonLinearAggregator,
            "most clients sent none",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_with_the_reason(
    experiment: Make, sections: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        experiment(**sections)
