"""Clients that keep something between rounds, through the whole product."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch.utils.data import TensorDataset

from fedlearn.errors import ConfigError, NonLinearAggregator, RunInterrupted
from fedlearn.experiment import Experiment
from fedlearn.experiment.virtual import VirtualClients
from fedlearn.runs.progress import RoundReport, Silent
from fedlearn.runs.result import Result
from fedlearn.simulation import simulate
from fedlearn.simulation.attack import attack

Make = Callable[..., Experiment]
MLP = {"name": "mlp", "arguments": {"hidden": [4]}}
KEEPING: dict[str, dict[str, Any]] = {
    "scaffold": {"algorithm": {"name": "scaffold"}},
    "feddyn": {"algorithm": {"name": "feddyn"}},
    "own head": {"model": {**MLP, "local_layers": ["head.*"]}},
    "scaffold and own head": {
        "algorithm": {"name": "scaffold"},
        "model": {**MLP, "local_layers": ["head.*"]},
    },
}
PRIVATE = {"enabled": True, "noise_multiplier": 1.0, "delta": 1e-3}
SECURE = {
    "clear": {"enabled": False},
    "ideal": {"enabled": True, "mode": "ideal"},
    "masked": {"enabled": True, "mode": "masked"},
}


@pytest.fixture(autouse=True)
def nobody_is_left() -> Any:
    yield
    assert multiprocessing.active_children() == []


def kept_in(directory: Path) -> dict[str, np.ndarray]:
    """Returns everything that a run left: its model, the server's state and what clients keep."""
    arrays = {"model": load_file(directory / "model.safetensors")}
    for path in sorted((directory / "checkpoint" / "clients").rglob("*.safetensors")):
        arrays[f"{path.parent.name}/{path.name}"] = load_file(path)
    state = load_file(directory / "checkpoint" / "state.safetensors")
    arrays["state"] = {name: array for name, array in state.items() if name != "header"}
    return {f"{file}:{name}": array for file, parts in arrays.items() for name, array in parts.items()}


def assert_same(one: Path, other: Path) -> None:
    left, right = kept_in(one), kept_in(other)
    assert left.keys() == right.keys()
    for name, array in left.items():
        np.testing.assert_array_equal(array, right[name], err_msg=name)


@pytest.mark.parametrize(
    ("kind", "mode"),
    [*((kind, "clear") for kind in KEEPING), ("scaffold and own head", "ideal"), ("feddyn", "masked")],
)
def test_any_number_of_workers_gives_the_same_model_and_the_same_memories(
    experiment: Make, tmp_path: Path, kind: str, mode: str
) -> None:
    sections = {
        "secure_aggregation": SECURE[mode],
        "privacy": PRIVATE,
        "reproducible_noise": True,
        "training": {"learning_rate": 0.2, "sample_rate": 0.2, "local_steps": 3},
        **KEEPING[kind],
    }
    counts = (1, 2, 4) if kind == "scaffold and own head" else (1, 2)
    for workers in counts:
        simulate(experiment(**sections), out=tmp_path / str(workers), workers=workers)
    for workers in counts[1:]:
        assert_same(tmp_path / "1", tmp_path / str(workers))
        assert Result.load(tmp_path / "1").final == Result.load(tmp_path / str(workers)).final


class _Interrupting(Silent):
    def round_done(self, report: RoundReport) -> None:
        if report.round == 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize("kind", ["feddyn", "scaffold and own head"])
def test_a_resumed_run_ends_as_an_uninterrupted_one(experiment: Make, tmp_path: Path, kind: str) -> None:
    made = experiment(rounds=4, **KEEPING[kind])
    simulate(made, out=tmp_path / "whole", workers=1)
    with pytest.raises(RunInterrupted):
        simulate(made, out=tmp_path / "cut", workers=1, progress=_Interrupting())
    simulate(made, out=tmp_path / "cut", workers=1, resume=True)
    assert_same(tmp_path / "whole", tmp_path / "cut")


def test_a_run_that_starts_anew_forgets_the_one_before(experiment: Make, tmp_path: Path) -> None:
    made = experiment(algorithm={"name": "scaffold"})
    simulate(made, out=tmp_path / "run", workers=1)
    simulate(made, out=tmp_path / "other", workers=1)
    simulate(made, out=tmp_path / "run", workers=1)
    assert_same(tmp_path / "run", tmp_path / "other")


@pytest.mark.parametrize("kind", KEEPING)
def test_what_is_kept_costs_no_more(experiment: Make, tmp_path: Path, kind: str) -> None:
    """Everything kept follows from the noised steps that plain averaging is charged for, too."""
    entries = {}
    for name, sections in (("plain", {}), ("keeping", KEEPING[kind])):
        made = experiment(rounds=2, privacy=PRIVATE, reproducible_noise=True, **sections)
        entries[name] = simulate(made, out=tmp_path / name, workers=1).privacy
    assert entries["keeping"] == entries["plain"]
    assert entries["plain"]


@pytest.mark.parametrize("kind", ["scaffold", "own head"])
def test_masked_sums_are_those_in_the_clear(experiment: Make, tmp_path: Path, kind: str) -> None:
    sections = {"training": {"learning_rate": 0.2, "local_steps": 3}, **KEEPING[kind]}
    for name, mode in (("clear", "clear"), ("masked", "masked")):
        simulate(experiment(secure_aggregation=SECURE[mode], **sections), out=tmp_path / name, workers=1)
    left, right = kept_in(tmp_path / "clear"), kept_in(tmp_path / "masked")
    for name, array in left.items():
        np.testing.assert_allclose(right[name], array, atol=2e-4, err_msg=name)


def test_only_shared_parameters_travel(experiment: Make, tmp_path: Path) -> None:
    made = experiment(model={**MLP, "local_layers": ["head.*"]})
    simulate(made, out=tmp_path / "run", workers=1)
    state = load_file(tmp_path / "run" / "checkpoint" / "state.safetensors")
    assert state["params"].size == 30 * 4 + 4
    layers = [array for name, array in kept_in(tmp_path / "run").items() if name.endswith(":layers")]
    assert {array.size for array in layers} == {4 * 2 + 2}
    assert len({array.tobytes() for array in layers}) == len(layers)


def test_a_virtual_client_that_never_took_part_keeps_nothing(tmp_path: Path) -> None:
    def records(index: int) -> TensorDataset:
        return TensorDataset(torch.full((8, 3), float(index % 5)), torch.arange(8) % 2)

    made = Experiment.from_dict(
        {
            "rounds": 2,
            "cohort": {"fraction": 0.001},
            "algorithm": {"name": "scaffold"},
            "model": {"name": "logistic", "arguments": {"classes": 2}},
        },
        clients=VirtualClients(count=10_000, records=records, size=8),
    )
    simulate(made, out=tmp_path / "run", workers=2)
    took_part = {name for round in (0, 1) for name in made.cohort(round)}
    kept = {path.name for path in (tmp_path / "run" / "checkpoint" / "clients").iterdir()}
    assert kept == took_part
    assert len(kept) <= 20


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "scaffold under client-level DP": (
        {
            "algorithm": {"name": "scaffold"},
            "privacy": {**PRIVATE, "unit": "client", "noise": "central"},
            "aggregation": {"weights": "uniform"},
        },
        "drift apart",
    ),
    "feddyn under shared noise": (
        {
            "algorithm": {"name": "feddyn"},
            "privacy": {**PRIVATE, "noise": "distributed"},
            "secure_aggregation": {"enabled": True},
            "training": {"local_steps": 1},
        },
        "no noise of their own",
    ),
    "own layers under shared noise": (
        {
            "model": {**MLP, "local_layers": ["head.*"]},
            "privacy": {**PRIVATE, "noise": "distributed"},
            "secure_aggregation": {"enabled": True},
            "training": {"local_steps": 1},
        },
        "local_layers with privacy",
    ),
    "scaffold over a momentum": (
        {"algorithm": {"name": "scaffold"}, "training": {"momentum": 0.9}},
        "plain sgd",
    ),
    "scaffold over adam": (
        {"algorithm": {"name": "scaffold"}, "training": {"optimizer": "adam"}},
        "plain sgd",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_go_together_is_refused_with_the_way_out(experiment: Make, case: str) -> None:
    sections, reason = REFUSED[case]
    with pytest.raises(ConfigError, match=reason):
        experiment(**sections)


def test_an_aggregator_that_compares_updates_is_refused(experiment: Make) -> None:
    with pytest.raises(NonLinearAggregator, match="weighted-mean"):
        experiment(algorithm={"name": "feddyn"}, aggregation={"name": "median"})


@pytest.mark.parametrize(
    ("patterns", "reason"), [(["haed.*"], r"'haed\.\*' fits no parameter"), (["*"], "nothing is left")]
)
def test_patterns_that_keep_nothing_or_everything_are_refused(
    experiment: Make, patterns: list[str], reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        _ = experiment(model={**MLP, "local_layers": patterns}).split


def test_attacks_say_that_they_read_whole_updates(experiment: Make) -> None:
    with pytest.raises(ConfigError, match="local_layers"):
        attack(experiment(algorithm={"name": "scaffold"}), "linear-inversion")
