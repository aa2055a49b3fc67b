"""Whole asynchronous runs: against rounds with cohorts, with privacy, compressed, on several workers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedlearn.errors import ConfigError, NonLinearAggregator, PrivacyError, RunInterrupted
from fedlearn.experiment import Experiment
from fedlearn.simulation import simulate
from tests.simulation.test_clock import CENTRAL, DP, Machines, StopsInRoundTwo, rounds_of
from tests.simulation.test_faults import MASKED, model_of

Make = Callable[..., Experiment]
SPREAD = {"enabled": True, "speed_spread": 1.0, "online_seconds": 30.0, "offline_seconds": 10.0}
BUFFERED = {"enabled": True, "buffer": 2, "concurrency": 4}


@pytest.fixture
def buffered(experiment: Make) -> Make:
    """Returns a maker of asynchronous experiments on machines of different speeds."""

    def make(**sections: Any) -> Experiment:
        values = {"fleet": SPREAD, "asynchronous": BUFFERED, "reproducible_noise": True, "rounds": 6}
        return experiment(**{**values, **sections})

    return make


def test_clients_of_one_speed_make_the_rounds_of_a_cohort(experiment: Make, tmp_path: Path) -> None:
    """All land together, none is stale: bit for bit the model of federated averaging."""
    data = {"dataset": "breast-cancer", "partition": {"kind": "iid", "clients": 5}, "declared_size": 90}
    alike = {"enabled": True, "speed_spread": 0.0}
    together = {"enabled": True, "buffer": 5, "concurrency": 5}
    simulate(experiment(data=data, fleet=alike, asynchronous=together), out=tmp_path / "buffered")
    simulate(experiment(data=data, fleet=alike), out=tmp_path / "cohort")
    assert model_of(tmp_path / "buffered") == model_of(tmp_path / "cohort")
    assert [entry["simulated_seconds"] for entry in rounds_of(tmp_path / "buffered")] == pytest.approx(
        [entry["simulated_seconds"] for entry in rounds_of(tmp_path / "cohort")], rel=1e-3
    )


@pytest.mark.parametrize(
    "sections",
    [
        pytest.param({}, marks=pytest.mark.slow),
        {"privacy": DP},
        {"compression": {"name": "top-k", "arguments": {"fraction": 0.2}, "error_feedback": True}},
        pytest.param({"compression": {"name": "random-k"}}, marks=pytest.mark.slow),
        {"faults": {"dropout": 0.2}, "cohort": {"deadline_seconds": 10.0}},
    ],
    ids=["plain", "privacy", "top-k", "random-k", "faults"],
)
def test_any_number_of_workers_gives_the_same_run(
    buffered: Make, tmp_path: Path, sections: dict[str, Any]
) -> None:
    results = [simulate(buffered(**sections), out=tmp_path / str(n), workers=n) for n in (1, 2)]
    assert model_of(tmp_path / "1") == model_of(tmp_path / "2")
    assert results[0].privacy == results[1].privacy
    assert results[0].timing.simulated_s == results[1].timing.simulated_s
    assert results[0].communication == results[1].communication


@pytest.mark.parametrize(
    "sections",
    [
        pytest.param({}, marks=pytest.mark.slow),
        {"compression": {"name": "top-k", "arguments": {"fraction": 0.2}, "error_feedback": True}},
    ],
    ids=["plain", "top-k"],
)
def test_a_resumed_run_gives_the_same_model(buffered: Make, tmp_path: Path, sections: dict[str, Any]) -> None:
    simulate(buffered(**sections), out=tmp_path / "whole")
    with pytest.raises(RunInterrupted):
        simulate(buffered(**sections), out=tmp_path / "cut", progress=StopsInRoundTwo())
    simulate(buffered(**sections), out=tmp_path / "cut", resume=True)
    assert model_of(tmp_path / "cut") == model_of(tmp_path / "whole")
    assert [entry["simulated_seconds"] for entry in rounds_of(tmp_path / "cut")] == [
        entry["simulated_seconds"] for entry in rounds_of(tmp_path / "whole")
    ]


def test_each_client_s_account_counts_its_own_rounds(buffered: Make, tmp_path: Path) -> None:
    """Client 0 is five times as fast as client 4: it trains more often, and spends more."""
    made = buffered(
        privacy=DP,
        rounds=12,
        asynchronous={"enabled": True, "buffer": 1, "concurrency": 5},
        fleet={"enabled": True},
    )
    result = simulate(Experiment(config=made.config, fleet=Machines()), out=tmp_path)
    spent = {entry.client: entry.epsilon for entry in result.privacy}
    assert spent["client-0"] > spent["client-4"] > 0
    assert spent["overall"] == max(spent[f"client-{number}"] for number in range(5))


def test_an_epsilon_for_all_rounds_is_never_exceeded(buffered: Make, tmp_path: Path) -> None:
    """Nobody takes part more often than there are rounds, so a client's calibrated noise suffices."""
    result = simulate(
        buffered(privacy={"enabled": True, "epsilon": 3.0, "delta": 1e-3}, rounds=8), out=tmp_path
    )
    assert result.epsilon is not None
    assert 0 < result.epsilon <= 3.0


def test_who_never_landed_is_charged_too(buffered: Make, tmp_path: Path) -> None:
    made = buffered(
        privacy=DP,
        rounds=1,
        asynchronous={"enabled": True, "buffer": 1, "concurrency": 5},
        fleet={"enabled": True},
    )
    result = simulate(Experiment(config=made.config, fleet=Machines()), out=tmp_path)
    assert rounds_of(tmp_path)[0]["survivors"] == 1
    assert all(entry.epsilon > 0 for entry in result.privacy), "all five were in flight when the run ended"


@pytest.mark.parametrize(
    ("sections", "error", "said"),
    [
        ({"fleet": {}}, ConfigError, r"fleet\.enabled=false"),
        ({"secure_aggregation": MASKED}, ConfigError, "masks cancel in the sum of one cohort"),
        (
            {"privacy": CENTRAL, "aggregation": {"weights": "uniform"}},
            PrivacyError,
            "a buffer mixes clients by their speed",
        ),
        ({"aggregation": {"name": "median"}}, NonLinearAggregator, "updates of a buffer come"),
        ({"algorithm": {"name": "scaffold"}}, ConfigError, "its server keeps the mean of what clients keep"),
        ({"cohort": {"fraction": 0.5}}, ConfigError, "clients take part as they become free"),
    ],
)
def test_what_does_not_go_together_is_refused_with_the_reason(
    buffered: Make, sections: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        buffered(**sections)


@pytest.mark.parametrize("key", ["buffer", "concurrency"])
def test_more_than_there_are_clients_is_refused(buffered: Make, tmp_path: Path, key: str) -> None:
    asking = buffered(asynchronous={**BUFFERED, key: 6})
    with pytest.raises(ConfigError, match=f"asynchronous.{key}=6 exceeds the 5 clients"):
        simulate(asking, out=tmp_path)
