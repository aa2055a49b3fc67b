"""Simulated time: who is late is lost and charged, and any number of workers gives the same run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch.utils.data import TensorDataset

from fedlearn.errors import ConfigError, DataError, RunInterrupted
from fedlearn.experiment import Experiment
from fedlearn.experiment.virtual import VirtualClients
from fedlearn.fleet import Pace, Window
from fedlearn.runs.progress import Silent
from fedlearn.runs.result import Result
from fedlearn.simulation import simulate
from tests.simulation.test_faults import MASKED, model_of

Make = Callable[..., Experiment]

DP = {"enabled": True, "noise_multiplier": 1.0, "delta": 1e-3}
CENTRAL = {**DP, "unit": "client", "noise": "central"}


class Machines:
    """Clients that take 1, 2, 3, … seconds for a round, and are online as a test says."""

    def __init__(self, windows: dict[str, tuple[Window, ...]] | None = None) -> None:
        self.windows = windows or {}

    def pace(self, client: str) -> Pace:
        # Two steps over the 50 records that each client declares.
        return Pace(records_per_second=100.0 / (1.0 + int(client.rpartition("-")[2])))

    def online(self, client: str, since: float) -> Iterator[Window]:
        yield from (w for w in self.windows.get(client, ((0.0, float("inf")),)) if w[1] > since)


@pytest.fixture
def timed(experiment: Make) -> Make:
    """Returns a maker of experiments whose five clients take 1 to 5 seconds."""

    def make(windows: dict[str, tuple[Window, ...]] | None = None, **sections: Any) -> Experiment:
        data = {
            "dataset": "breast-cancer",
            "partition": {"kind": "iid", "clients": 5},
            "declared_size": 50,
        }
        values = {"fleet": {"enabled": True}, "reproducible_noise": True, "data": data, **sections}
        made = experiment(**values)
        return Experiment(config=made.config, fleet=Machines(windows))

    return make


def rounds_of(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "rounds.jsonl").read_text().splitlines()]


def test_the_slowest_client_makes_the_round(timed: Make, tmp_path: Path) -> None:
    result = simulate(timed(), out=tmp_path / "run")
    assert [entry["simulated_seconds"] for entry in rounds_of(tmp_path / "run")] == [5.0, 5.0, 5.0]
    assert result.timing.simulated_s == 15.0
    plain = Experiment(config=timed().config.with_settings(fleet={}))
    assert simulate(plain, out=tmp_path / "plain").timing.simulated_s is None
    assert model_of(tmp_path / "run") == model_of(tmp_path / "plain"), "time alone changes no model"


def test_who_is_late_is_lost_and_the_server_waits_no_longer(timed: Make, tmp_path: Path) -> None:
    simulate(timed(cohort={"deadline_seconds": 3.0}), out=tmp_path / "run")
    for entry in rounds_of(tmp_path / "run"):
        assert entry["dropped"] == {"client-3": "timeout", "client-4": "timeout"}
        assert entry["survivors"] == 3
        assert entry["simulated_seconds"] == 3.0


def test_the_late_are_in_no_sum(timed: Make, tmp_path: Path) -> None:
    simulate(timed(rounds=1, cohort={"deadline_seconds": 3.0}), out=tmp_path / "late")
    gone = {name: ((1e9, 2e9),) for name in ("client-3", "client-4")}
    simulate(timed(gone, rounds=1, cohort={"deadline_seconds": 3.0}), out=tmp_path / "offline")
    assert model_of(tmp_path / "late") == model_of(tmp_path / "offline")
    assert rounds_of(tmp_path / "offline")[0]["dropped"] == {
        "client-3": "unavailable",
        "client-4": "unavailable",
    }


def test_who_trained_too_late_is_charged_and_who_was_offline_is_not(timed: Make, tmp_path: Path) -> None:
    sections = {"privacy": DP, "cohort": {"deadline_seconds": 3.0}}
    offline = {"client-4": ((1e9, 2e9),)}
    result = simulate(timed(offline, **sections), out=tmp_path / "run")
    spent = {entry.client: entry.epsilon for entry in result.privacy}
    assert spent["client-3"] == pytest.approx(spent["client-0"]), "it was cut, and what it sent left it"
    assert spent["client-4"] == 0.0


def test_without_a_deadline_the_server_waits_for_who_is_offline(timed: Make, tmp_path: Path) -> None:
    windows = {"client-0": ((20.0, 20.5), (30.0, 1e9))}
    simulate(timed(windows, rounds=2), out=tmp_path / "run")
    first, second = rounds_of(tmp_path / "run")
    assert first["simulated_seconds"] == 30.5, "half of its second before it went offline, half after"
    assert second["simulated_seconds"] == 5.0


def test_who_never_comes_back_is_lost(timed: Make, tmp_path: Path) -> None:
    simulate(timed({"client-0": ((0.0, 0.5),)}, rounds=2), out=tmp_path / "run")
    first, second = rounds_of(tmp_path / "run")
    assert (first["dropped"], second["dropped"]) == ({"client-0": "timeout"}, {"client-0": "unavailable"})
    assert first["simulated_seconds"] == 5.0


def selecting(timed: Make, **sections: Any) -> Experiment:
    """Three of five are needed, and all five asked."""
    cohort = {"fraction": 0.6, "over_selection": 1.7, **sections.pop("cohort", {})}
    return timed(cohort=cohort, **sections)


def test_the_first_that_are_enough_end_the_round(timed: Make, tmp_path: Path) -> None:
    simulate(selecting(timed), out=tmp_path / "run")
    for entry in rounds_of(tmp_path / "run"):
        assert entry["dropped"] == {"client-3": "surplus", "client-4": "surplus"}
        assert entry["simulated_seconds"] == 3.0


def test_who_vanished_is_replaced_by_the_next_fastest(timed: Make, tmp_path: Path) -> None:
    faulty = selecting(timed, rounds=20, faults={"dropout": 0.15})
    simulate(faulty, out=tmp_path / "run")
    entries = rounds_of(tmp_path / "run")
    lost = [sum(reason == "dropout" for reason in entry["dropped"].values()) for entry in entries]
    assert {0, 1} <= set(lost)
    for entry, vanished in zip(entries, lost, strict=True):
        assert entry["survivors"] == min(3, 5 - vanished)


def test_statistics_are_those_of_all_clients(timed: Make, tmp_path: Path) -> None:
    """A release before the first round has no cohort that could be over-selected."""
    data = {
        "dataset": "breast-cancer",
        "partition": {"kind": "iid", "clients": 5},
        "declared_size": 50,
        "standardise": "federated",
    }
    simulate(selecting(timed, data=data, rounds=1), out=tmp_path / "selecting")
    simulate(timed(data=data, rounds=1), out=tmp_path / "all")
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("selecting", "all"))
    assert one["center"].any()
    assert one["center"].tobytes() == other["center"].tobytes()


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"cohort": {"over_selection": 1.5}}, "cohort.fraction=1: everybody is asked already"),
        (
            {"cohort": {"over_selection": 1.5, "fraction": 0.5, "sampling": "poisson"}},
            "such a cohort has no size to be exceeded",
        ),
        ({"cohort": {"over_selection": 1.5, "fraction": 0.5}, "fleet": {}}, "fleet.enabled=false"),
    ],
)
def test_over_selection_without_a_meaning_is_refused(
    experiment: Make, sections: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        experiment(**{"fleet": {"enabled": True}, **sections})


def test_fewer_than_secure_aggregation_needs_are_refused(timed: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"asks 5 clients and ends with 3, below the 4 that secure"):
        simulate(selecting(timed, secure_aggregation=MASKED), out=tmp_path / "run")


def test_masked_and_ideal_cut_the_same_clients(timed: Make, tmp_path: Path) -> None:
    for mode in ("masked", "ideal"):
        simulate(
            timed(cohort={"deadline_seconds": 4.0}, secure_aggregation={**MASKED, "mode": mode}),
            out=tmp_path / mode,
        )
        for entry in rounds_of(tmp_path / mode):
            assert entry["dropped"] == {"client-4": "timeout"}
            assert entry["failure"] is None
    assert model_of(tmp_path / "masked") == model_of(tmp_path / "ideal")


@pytest.mark.parametrize(
    "sections",
    [
        pytest.param({"cohort": {"deadline_seconds": 3.0}}, marks=pytest.mark.slow),
        {"cohort": {"fraction": 0.6, "over_selection": 1.7}, "faults": {"dropout": 0.1}, "privacy": DP},
        {"cohort": {"deadline_seconds": 4.0}, "secure_aggregation": MASKED},
        pytest.param(
            {"cohort": {"deadline_seconds": 4.0}, "secure_aggregation": {**MASKED, "mode": "ideal"}},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"cohort": {"deadline_seconds": 3.0}, "privacy": CENTRAL, "aggregation": {"weights": "uniform"}},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["deadline", "over-selection", "masked", "ideal", "client-level"],
)
def test_any_number_of_workers_gives_the_same_run(
    timed: Make, tmp_path: Path, sections: dict[str, Any]
) -> None:
    results = [simulate(timed(**sections), out=tmp_path / str(n), workers=n) for n in (1, 2)]
    assert model_of(tmp_path / "1") == model_of(tmp_path / "2")
    assert results[0].privacy == results[1].privacy
    told = ("dropped", "simulated_seconds", "traffic")
    assert [[entry[key] for key in told] for entry in rounds_of(tmp_path / "1")] == [
        [entry[key] for key in told] for entry in rounds_of(tmp_path / "2")
    ]


class StopsInRoundTwo(Silent):
    def client_done(self, round: int, done: int, cohort: int) -> None:
        if round == 1 and done == 2:
            raise KeyboardInterrupt


def test_the_clock_goes_on_after_a_resume(timed: Make, tmp_path: Path) -> None:
    windows = {"client-0": ((0.0, 2.0), (12.0, 1e9))}
    simulate(timed(windows), out=tmp_path / "whole")
    with pytest.raises(RunInterrupted):
        simulate(timed(windows), out=tmp_path / "cut", progress=StopsInRoundTwo())
    simulate(timed(windows), out=tmp_path / "cut", resume=True)
    seconds = [entry["simulated_seconds"] for entry in rounds_of(tmp_path / "cut")]
    assert seconds == [entry["simulated_seconds"] for entry in rounds_of(tmp_path / "whole")]
    assert seconds == [5.0, 8.0, 5.0]
    assert Result.load(tmp_path / "cut").timing.simulated_s == 18.0


def test_a_deadline_that_nobody_can_meet_is_refused(experiment: Make, tmp_path: Path) -> None:
    slow = experiment(fleet={"enabled": True, "records_per_second": 1.0}, cohort={"deadline_seconds": 2.0})
    with pytest.raises(
        ConfigError, match=r"deadline_seconds=2 is met by nobody: the fastest client, 'client-"
    ):
        simulate(slow, out=tmp_path / "run")


def test_a_client_that_the_trace_lacks_is_named(experiment: Make, tmp_path: Path) -> None:
    trace = tmp_path / "fleet.csv"
    trace.write_text(
        "client,records_per_second,upload_bytes_per_second,download_bytes_per_second\nclient-0,1,1,1\n"
    )
    lacking = experiment(fleet={"enabled": True, "trace": str(trace)})
    with pytest.raises(DataError, match=r"has 1 clients, but not 'client-1' and 3 others"):
        simulate(lacking, out=tmp_path / "run")


def test_a_trace_and_a_distribution_exclude_each_other(experiment: Make) -> None:
    with pytest.raises(ConfigError, match="trace and speed_spread exclude each other"):
        experiment(fleet={"enabled": True, "trace": "fleet.csv", "speed_spread": 0.5})


def test_machines_without_a_clock_are_refused(experiment: Make) -> None:
    with pytest.raises(ConfigError, match=r"fleet\.enabled=false ignores it"):
        Experiment(config=experiment().config, fleet=Machines())


def test_a_million_clients_have_a_pace_each_and_none_takes_memory(tmp_path: Path) -> None:
    def records(index: int) -> TensorDataset:
        rng = np.random.default_rng(index)
        inputs = torch.from_numpy(rng.normal(size=(20, 3)).astype(np.float32))
        return TensorDataset(inputs, (inputs[:, 0] > 0).long())

    values = {
        "rounds": 2,
        "model": {"name": "logistic", "arguments": {"classes": 2}},
        "cohort": {"fraction": 2e-5, "over_selection": 1.5, "deadline_seconds": 60.0},
        "fleet": {
            "enabled": True,
            "speed_spread": 1.0,
            "online_seconds": 600.0,
            "offline_seconds": 600.0,
        },
    }
    million = VirtualClients(count=1_000_000, records=records, size=20)
    result = simulate(Experiment.from_dict(values, clients=million, test=records(-1 % 2**32)), out=tmp_path)
    entries = rounds_of(tmp_path)
    assert [entry["survivors"] + len(entry["dropped"]) for entry in entries] == [30, 30]
    reasons = {reason for entry in entries for reason in entry["dropped"].values()}
    assert {"unavailable"} <= reasons <= {"unavailable", "surplus", "timeout"}
    assert result.timing.simulated_s is not None
