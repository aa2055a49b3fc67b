"""DP synthetic data: a generator of the federation's own, and what clients make of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from fedlearn.errors import ConfigError, DataError, FedLearnError, PrivacyError
from fedlearn.experiment import Experiment
from fedlearn.experiment.enrolment import Enrolment
from fedlearn.experiment.setup import RunSetup
from fedlearn.experiment.synthesis import synthesis_of
from fedlearn.federation.site.forecast import charges_of
from fedlearn.models.conditional_vae import ConditionalVae
from fedlearn.runs.verification import verify_run
from fedlearn.simulation.simulate import simulate
from fedlearn.training.synthetic import EvidenceBound, SyntheticBeside, labelled
from fedlearn.training.vector import FlatModel

BASE: dict[str, Any] = {
    "name": "synthetic",
    "rounds": 2,
    "metrics": ["accuracy"],
    "data": {"dataset": "breast-cancer", "partition": {"clients": 4}, "scarcity": {"records_per_client": 30}},
    "model": {"name": "logistic"},
    "training": {"batch_size": 10, "learning_rate": 0.1},
    "remedies": {"synthesis": {"rounds": 3, "records": 15}},
    "reproducible_noise": True,
}
PRIVATE: dict[str, Any] = {"privacy": {"enabled": True, "epsilon": 8.0, "delta": 1e-3}}
MASKED: dict[str, Any] = {"secure_aggregation": {"enabled": True, "mode": "masked"}}


def experiment(**sections: Any) -> Experiment:
    return Experiment.from_dict({**BASE, **sections})


def setup_of(made: Experiment) -> RunSetup:
    roster = Enrolment.needed_by(made.config, made.population).roster
    return RunSetup(experiment=made, run="synthetic-0", roster=roster)


@pytest.mark.parametrize("protection", [PRIVATE, PRIVATE | MASKED], ids=["dp", "both"])
def test_the_generator_and_training_share_one_account(tmp_path: Path, protection: dict[str, Any]) -> None:
    """Executed is forecast: the signed events are those of three rounds of one and two of the other."""
    made = experiment(**protection)
    result = simulate(made, out=tmp_path / "run", workers=1)
    assert result.epsilon is not None
    assert 7.0 < result.epsilon <= 8.0
    statement = json.loads((tmp_path / "run" / "privacy_statement.json").read_text())
    assert "all releases of synthesis" in statement["composition"]
    setup = setup_of(made)
    for client in statement["clients"]:
        wanted = sorted(
            (event.noise_multiplier, event.steps) for _, event in charges_of(setup, client["client"])
        )
        found = sorted((event["noise_multiplier"], event["steps"]) for event in client["events"])
        assert found == wanted
        # 30 own records and 15 synthetic ones in batches of 10, two rounds of one pass: 5 steps each.
        assert [steps for _, steps in found] in ([9, 10], [10, 9])
    verify_run(tmp_path / "run")


def test_everything_composes(tmp_path: Path) -> None:
    """Synthetic records, pretraining, federated standardisation, views and smoothing at once."""
    remedies = {
        "synthesis": {"rounds": 2, "records": 10},
        "pretraining": {"rounds": 2},
        "augmentation": [{"name": "noise"}],
        "views": 2,
        "label_smoothing": 0.1,
    }
    data = BASE["data"] | {"standardise": "federated"}
    made = experiment(remedies=remedies, data=data, model={"name": "mlp"}, **PRIVATE, **MASKED)
    result = simulate(made, out=tmp_path / "run", workers=1)
    assert result.epsilon is not None
    assert 7.0 < result.epsilon <= 8.0
    assert result.privacy[0].scope.startswith("standardisation statistics and synthesis and pretraining")
    verify_run(tmp_path / "run")


def test_clients_train_on_their_records_and_on_generated_ones() -> None:
    own = TensorDataset(torch.zeros(3, 4), torch.tensor([0, 0, 1]))
    generator = FlatModel(ConditionalVae((4,), 3, hidden=5, latent=2))
    source = SyntheticBeside(own, generator, records=7, seed=(0, 1))
    params = np.random.default_rng(0).normal(size=generator.dimension).astype(np.float32)
    source.receive(params)
    inputs, targets = source.records().tensors  # type: ignore[attr-defined]
    assert torch.equal(inputs[:3], own.tensors[0])
    assert targets.tolist() == [0, 0, 1, 0, 1, 2, 0, 1, 2, 0]
    again = SyntheticBeside(own, generator, records=7, seed=(0, 1))
    again.receive(params)
    assert torch.equal(again.records().tensors[0], inputs)  # type: ignore[attr-defined]
    other = SyntheticBeside(own, generator, records=7, seed=(0, 2))
    other.receive(params)
    assert not torch.equal(other.records().tensors[0], inputs)  # type: ignore[attr-defined]
    source.receive(params + 1)
    assert not torch.equal(source.records().tensors[0], inputs)  # type: ignore[attr-defined]


def test_the_bound_is_the_sum_of_its_two_terms() -> None:
    """At a code of N(0, I) the divergence is 0; of N(1, e^s) it is (1 + e^s − 1 − s) / 2 per value."""
    values, targets = torch.zeros(2, 5), torch.full((2, 5), 2.0)
    loss = EvidenceBound(latent=3)
    standard = torch.cat([values, torch.zeros(2, 6)], dim=1)
    torch.testing.assert_close(loss.each(standard, targets), torch.full((2,), 4.0))
    spread = 0.7
    code = torch.cat([values, torch.ones(2, 3), torch.full((2, 3), spread)], dim=1)
    divergence = 3 * (1 + np.exp(spread) - 1 - spread) / 2
    torch.testing.assert_close(loss.each(code, targets), torch.full((2,), 4.0 + 0.1 / 5 * float(divergence)))


def test_a_generator_learns_which_records_belong_to_which_label() -> None:
    """Two clusters: after training, generated records lie nearest to the cluster of their label."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(200) % 2
    centres = torch.tensor([[2.0, 0.0, -1.0], [-2.0, 1.0, 1.0]])
    inputs = centres[targets] + 0.1 * torch.randn(200, 3, generator=generator)
    rows, values = labelled(TensorDataset(inputs, targets), 2).tensors  # type: ignore[attr-defined]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ConditionalVae((3,), 2, hidden=16, latent=2)
        optimizer, loss = torch.optim.Adam(model.parameters(), lr=0.02), EvidenceBound(latent=2)
        for _ in range(200):
            optimizer.zero_grad()
            loss(model(rows), values).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    labels = torch.arange(40) % 2
    drawn = model.sample(labels, torch.Generator().manual_seed(1))
    assert torch.equal(torch.cdist(drawn, centres).argmin(dim=1), labels)


def refusal(**sections: Any) -> FedLearnError:
    with pytest.raises(FedLearnError) as caught:
        experiment(**sections)
    return caught.value


def test_what_would_betray_records_is_refused_with_the_reason() -> None:
    bare = refusal()
    assert isinstance(bare, PrivacyError)
    assert "may repeat others' records" in str(bare)
    client = {
        "privacy": {"enabled": True, "unit": "client", "noise": "central", "epsilon": 8.0, "delta": 1e-2}
    }
    assert "privacy.unit='client'" in str(refusal(aggregation={"weights": "uniform"}, **client))
    shared = {
        "privacy": PRIVATE["privacy"] | {"noise": "distributed"},
        "secure_aggregation": {"enabled": True, "mode": "ideal"},
        "training": {"local_steps": 1},
    }
    error = refusal(**shared)
    assert isinstance(error, ConfigError)
    assert "set privacy.noise='local'" in str(error)
    greedy = {"remedies": {"synthesis": {"rounds": 1, "epsilon": 9.0}}}
    assert "remedies.synthesis.epsilon=9 leaves nothing" in str(refusal(**greedy, **PRIVATE))


def test_without_privacy_it_must_be_declared_and_then_is_stated(tmp_path: Path) -> None:
    declared = {"synthesis": BASE["remedies"]["synthesis"] | {"unprotected": True}}
    simulate(experiment(remedies=declared), out=tmp_path / "run", workers=1)
    statement = json.loads((tmp_path / "run" / "privacy_statement.json").read_text())
    assert any("generator that was trained without privacy" in gap for gap in statement["not_covered"])


def test_texts_are_refused() -> None:
    texts = TensorDataset(torch.randint(5, (6, 4)), torch.randint(2, (6,)))
    model = {"name": "lstm", "arguments": {"vocabulary": 5, "classes": 2}}
    remedies = {"synthesis": {"rounds": 1, "unprotected": True}}
    made = Experiment.from_dict({"model": model, "remedies": remedies}, clients={"a": texts, "b": texts})
    with pytest.raises(DataError, match="not of texts"):
        synthesis_of(made)
