"""Self-supervised pretraining: a stage of the run, under the same protections and in the same account."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from fedlearn.errors import ConfigError, DataError, FedLearnError, ModelError, PrivacyError, RunInterrupted
from fedlearn.experiment import Experiment
from fedlearn.experiment.enrolment import Enrolment
from fedlearn.experiment.pretraining import pretraining_of, with_learned_body
from fedlearn.experiment.setup import RunSetup
from fedlearn.federation.site.forecast import charges_of
from fedlearn.runs.progress import RoundReport, Silent
from fedlearn.runs.verification import verify_run
from fedlearn.simulation.simulate import simulate

BASE: dict[str, Any] = {
    "name": "few-labels",
    "rounds": 2,
    "metrics": ["accuracy"],
    "data": {
        "dataset": "digits",
        "partition": {"clients": 4},
        "scarcity": {"records_per_client": 40, "labelled_fraction": 0.1},
    },
    "model": {"name": "mlp", "arguments": {"hidden": [8]}},
    "training": {"batch_size": 10, "learning_rate": 0.1},
    "remedies": {"pretraining": {"rounds": 3, "learning_rate": 0.05}},
    "reproducible_noise": True,
}
PRIVATE: dict[str, Any] = {"privacy": {"enabled": True, "epsilon": 8.0, "delta": 1e-3}}
MASKED: dict[str, Any] = {"secure_aggregation": {"enabled": True, "mode": "masked"}}
SHARED: dict[str, Any] = {
    "privacy": {"enabled": True, "epsilon": 8.0, "delta": 1e-3, "noise": "distributed"},
    "secure_aggregation": {"enabled": True, "mode": "ideal"},
    "training": {"learning_rate": 0.1, "local_steps": 1},
}


def experiment(**sections: Any) -> Experiment:
    return Experiment.from_dict({**BASE, **sections})


def setup_of(made: Experiment) -> RunSetup:
    enrolment = Enrolment.needed_by(made.config, made.population)
    return RunSetup(experiment=made, run="few-labels-0", roster=enrolment.roster)


def test_the_stage_sees_all_records_and_no_label() -> None:
    stage = pretraining_of(experiment())
    for name, data in stage.population.clients.items():
        held = experiment().population.clients[name]
        assert (held.size, data.size, data.declared_size) == (4, 40, 40)
        assert isinstance(data.train, TensorDataset)
        inputs, targets = data.train.tensors
        assert torch.equal(targets, inputs.flatten(1))


def test_its_body_is_where_training_starts_and_nothing_else_is() -> None:
    made = experiment()
    stage = pretraining_of(made)
    learned = stage.initial_params + 1.0
    model = made.build_model()
    model.load(with_learned_body(made, stage, learned))
    fresh, moved = made.build_model().module, model.module
    torch.testing.assert_close(moved.get_parameter("body.1.weight"), fresh.get_parameter("body.1.weight") + 1)
    assert torch.equal(moved.get_parameter("head.weight"), fresh.get_parameter("head.weight"))


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_pretraining_learns_to_reconstruct(tmp_path: Path, model: str) -> None:
    """The mean squared error of what all clients hold falls."""
    made = experiment(
        model={"name": model}, remedies={"pretraining": {"rounds": 8, "learning_rate": 0.2, "noise": 0.05}}
    )
    setup = setup_of(made)
    assert setup.pretraining is not None
    stage = setup.pretraining.experiment
    state, before = stage.algorithm.init(stage.initial_params), error_of(stage, stage.initial_params)
    bench = setup.pretraining.workbench()
    for round in range(8):
        trainers = [
            setup.pretraining.client(name, key=None, bench=bench)._trainer for name in stage.population.names
        ]
        updates = [trainer.train(state.params, round=round) for trainer in trainers]
        state = stage.algorithm.step(state, np.mean(updates, axis=0, dtype=np.float32))
    assert error_of(stage, state.params) < 0.8 * before


def error_of(stage: Experiment, params: Any) -> float:
    model = stage.build_model()
    model.load(params)
    inputs, targets = stage.population.pooled().tensors  # type: ignore[attr-defined]
    with torch.no_grad():
        return float((model.module(inputs) - targets).square().mean())


@pytest.mark.parametrize(
    "protection",
    [{}, PRIVATE, MASKED, PRIVATE | MASKED, SHARED],
    ids=["plain", "dp", "masked", "both", "shared"],
)
def test_it_runs_under_every_protection_of_records(tmp_path: Path, protection: dict[str, Any]) -> None:
    result = simulate(experiment(**protection), out=tmp_path / "run", workers=1)
    assert result.rounds == 2
    statement = json.loads((tmp_path / "run" / "privacy_statement.json").read_text())
    if not protection.get("privacy"):
        assert statement["clients"] == []
        return
    assert result.epsilon is not None
    assert 7.0 < result.epsilon <= 8.0
    assert "all releases of pretraining" in statement["composition"]
    assert "pretraining and training" in result.privacy[0].scope
    verify_run(tmp_path / "run")


def test_what_is_executed_is_what_was_forecast(tmp_path: Path) -> None:
    """Statistics, pretraining and training, each release once: the events that the clients signed."""
    table = BASE | {
        "data": {
            "dataset": "breast-cancer",
            "partition": {"clients": 4},
            "standardise": "federated",
            "scarcity": {"labelled_fraction": 0.2},
        }
    }
    made = Experiment.from_dict(table | PRIVATE | MASKED)
    simulate(made, out=tmp_path / "run", workers=1)
    statement = json.loads((tmp_path / "run" / "privacy_statement.json").read_text())
    setup = setup_of(made)
    for client in statement["clients"]:
        wanted = sorted(
            (event.noise_multiplier, event.steps) for _, event in charges_of(setup, client["client"])
        )
        found = sorted((event["noise_multiplier"], event["steps"]) for event in client["events"])
        assert found == wanted
        assert len(found) == 3


class Stop(Silent):
    """Interrupts after the given number of clients have answered."""

    def __init__(self, after: int) -> None:
        self.left = after

    def round_done(self, report: RoundReport) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("protection", [{}, PRIVATE], ids=["plain", "dp"])
def test_a_run_that_was_interrupted_after_it_goes_on_with_what_it_learned(
    tmp_path: Path, protection: dict[str, Any]
) -> None:
    whole = simulate(experiment(**protection), out=tmp_path / "whole", workers=1)
    with pytest.raises(RunInterrupted):
        simulate(experiment(**protection), out=tmp_path / "half", workers=1, progress=Stop(after=1))
    resumed = simulate(experiment(**protection), out=tmp_path / "half", workers=1, resume=True)
    assert resumed.final == whole.final
    assert resumed.epsilon == whole.epsilon
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "half")]
    assert weights[0] == weights[1]


class Lazy(Dataset[tuple[torch.Tensor, ...]]):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        return torch.full((3,), float(index)), torch.tensor(index % 2)


class Bodiless(nn.Linear):
    def __init__(self) -> None:
        super().__init__(3, 2)


def own(**objects: Any) -> Experiment:
    table = {key: BASE[key] for key in ("remedies", "training", "metrics", "rounds")}
    model = {"name": "mlp", "arguments": {"classes": 2}}
    return Experiment.from_dict(table | {"model": model}, clients={"a": Lazy(), "b": Lazy()}, **objects)


def test_data_sets_that_are_read_one_record_at_a_time_are_reconstructed(tmp_path: Path) -> None:
    assert simulate(own(), out=tmp_path / "run", workers=1).rounds == 2


def refusal(**sections: Any) -> FedLearnError:
    with pytest.raises(FedLearnError) as caught:
        _ = setup_of(experiment(**sections)).pretraining
    return caught.value


def test_what_it_cannot_do_is_refused_with_the_reason() -> None:
    rounds = BASE["remedies"]
    head = refusal(remedies=rounds | {"tuning": {"name": "head"}})
    assert isinstance(head, ConfigError)
    assert "which this freezes" in str(head)
    client = {
        "privacy": {"enabled": True, "unit": "client", "noise": "central", "epsilon": 8.0, "delta": 1e-2}
    }
    assert "privacy.unit='client'" in str(refusal(aggregation={"weights": "uniform"}, **client))
    greedy = refusal(remedies={"pretraining": {"rounds": 2, "epsilon": 8.0}}, **PRIVATE)
    assert isinstance(greedy, PrivacyError)
    assert "leaves nothing of privacy.epsilon=8 for training" in str(greedy)


def test_texts_and_models_without_a_body_are_refused() -> None:
    texts = TensorDataset(torch.randint(5, (6, 4)), torch.randint(2, (6,)))
    model = {"name": "lstm", "arguments": {"vocabulary": 5, "classes": 2}}
    made = Experiment.from_dict(
        {"model": model, "remedies": BASE["remedies"]}, clients={"a": texts, "b": texts}
    )
    with pytest.raises(DataError, match="not of texts"):
        pretraining_of(made)
    with pytest.raises(ModelError, match="Bodiless has no 'body'"):
        pretraining_of(own(model=Bodiless)).build_model()


def test_a_party_without_the_records_derives_the_same_stage() -> None:
    """As the server of real sites does: of others it knows the declared size."""
    made = experiment()
    nothing = TensorDataset(torch.empty(0), torch.empty(0, dtype=torch.int64))
    elsewhere = {
        name: replace(data, train=nothing, unlabelled=None, size=0)
        for name, data in made.population.clients.items()
    }
    known = replace(made, known=replace(made.population, clients=elsewhere))
    ours, theirs = pretraining_of(made), pretraining_of(known)
    assert np.array_equal(ours.initial_params, theirs.initial_params)
    sizes = [[c.declared_size for c in e.population.clients.values()] for e in (ours, theirs)]
    assert sizes[0] == sizes[1]
