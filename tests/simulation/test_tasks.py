"""Multi-task learning: one body, and heads of different sizes and losses that stay at their clients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch.utils.data import TensorDataset

from fedlearn.errors import ConfigError
from fedlearn.experiment import Experiment
from fedlearn.simulation import simulate

TASKS: dict[str, Any] = {
    "sort": {"clients": ["sort-*"], "outputs": 3},
    "tell": {"clients": ["tell-*"], "outputs": 2},
    "measure": {"clients": ["measure-*"], "outputs": 1, "loss": "mse", "metrics": ["mse", "r2"]},
}
FEATURES = 12


def records(task: str, count: int, rng: np.random.Generator) -> TensorDataset:
    """Records whose targets all follow from one hidden direction, asked for in three ways."""
    inputs = torch.tensor(rng.normal(size=(count, FEATURES)), dtype=torch.float32)
    hidden = inputs @ torch.linspace(-1.0, 1.0, FEATURES)
    if task == "measure":
        return TensorDataset(inputs, hidden[:, None] / 2)
    if task == "tell":
        return TensorDataset(inputs, (hidden > 0).long())
    return TensorDataset(inputs, (hidden > -1).long() + (hidden > 1).long())


def experiment(**sections: Any) -> Experiment:
    rng = np.random.default_rng(0)
    names = [f"{task}-{number}" for task in TASKS for number in range(2)]
    clients = {name: records(name.partition("-")[0], 30, rng) for name in names}
    test = {name: records(name.partition("-")[0], 200, rng) for name in names}
    values = {
        "rounds": 10,
        "metrics": ["accuracy"],
        "model": {"name": "mlp", "arguments": {"hidden": [8]}, "local_layers": ["head.*"]},
        "training": {"learning_rate": 0.2, "local_steps": 5},
        "tasks": TASKS,
        **sections,
    }
    return Experiment.from_dict(values, clients=clients, test=test)


def test_each_client_has_the_head_and_the_metrics_of_its_task(tmp_path: Path) -> None:
    result = simulate(experiment(), out=tmp_path / "run", workers=1)
    assert {name: set(values) for name, values in result.per_client.items()} == {
        **{f"{task}-{number}": {"accuracy"} for task in ("sort", "tell") for number in range(2)},
        **{f"measure-{number}": {"mse", "r2"} for number in range(2)},
    }
    assert set(result.final) == {"accuracy", "mse", "r2"}
    assert result.final["accuracy"] > 0.7  # type: ignore[operator]
    assert result.final["r2"] > 0.5  # type: ignore[operator]
    kept = {
        path.parent.name: load_file(path)["layers"].size
        for path in (tmp_path / "run" / "checkpoint" / "clients").rglob("training-9.safetensors")
    }
    assert kept == {
        name: 8 * outputs + outputs
        for task, outputs in (("sort", 3), ("tell", 2), ("measure", 1))
        for name in (f"{task}-0", f"{task}-1")
    }


def test_a_client_may_take_no_part(tmp_path: Path) -> None:
    result = simulate(experiment(rounds=1, data={"unseen_clients": 1}), out=tmp_path / "run", workers=1)
    assert len(result.per_client) == 5


def test_only_the_body_travels(tmp_path: Path) -> None:
    simulate(experiment(rounds=1), out=tmp_path / "run", workers=1)
    state = load_file(tmp_path / "run" / "checkpoint" / "state.safetensors")
    assert state["params"].size == FEATURES * 8 + 8


def test_a_body_that_all_learn_serves_clients_with_few_records(tmp_path: Path) -> None:
    """Thirty records of one's own, and the hidden direction from a hundred and eighty."""
    together = simulate(experiment(rounds=30), out=tmp_path / "together", workers=1).final
    whole, name = experiment(rounds=30), "measure-0"
    assert whole.clients is not None
    assert isinstance(whole.test, dict)
    one = Experiment(config=whole.config, clients={name: whole.clients[name]}, test={name: whole.test[name]})
    alone = simulate(one, out=tmp_path / "alone", workers=1).final
    assert together["r2"] > alone["r2"]  # type: ignore[operator]


@pytest.mark.parametrize("mode", ["ideal", "masked"])
def test_tasks_work_under_both_protections(tmp_path: Path, mode: str) -> None:
    made = experiment(
        rounds=2,
        secure_aggregation={"enabled": True, "mode": mode},
        privacy={"enabled": True, "noise_multiplier": 1.0, "delta": 1e-3},
        training={"learning_rate": 0.1, "local_steps": 2, "sample_rate": 0.5},
        reproducible_noise=True,
    )
    one = simulate(made, out=tmp_path / "one", workers=1)
    two = simulate(made, out=tmp_path / "two", workers=2)
    assert one.final == two.final
    assert one.privacy == two.privacy
    assert len({entry.epsilon for entry in one.privacy}) == 1


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no own heads": ({"model": {"name": "mlp"}}, "cannot be averaged"),
    "a client without a task": ({"tasks": {"sort": TASKS["sort"]}}, "has 0 tasks"),
    "a client with two": (
        {"tasks": {**TASKS, "again": {"clients": ["sort-1"], "outputs": 4}}},
        "has 2 tasks",
    ),
    "one model of all beside it": ({"personalisation": {"enabled": True}}, "tasks have none"),
    "bodies that differ": (
        {"model": {"name": "mlp", "local_layers": ["body.*"]}},
        "shares .* parameters, others",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_go_together_is_refused(tmp_path: Path, case: str) -> None:
    sections, reason = REFUSED[case]
    with pytest.raises(ConfigError, match=reason):
        simulate(experiment(**sections), out=tmp_path / "run", workers=1)


def test_held_out_records_of_no_client_are_refused() -> None:
    made = experiment()
    assert isinstance(made.test, dict)
    strange = Experiment(
        config=made.config, clients=made.clients, test={**made.test, "nobody": made.test["sort-0"]}
    )
    with pytest.raises(ConfigError, match="nobody"):
        _ = strange.population
