"""Validation-gated personalisation and Ditto, through the whole product."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch.utils.data import TensorDataset

from fedlearn.errors import ConfigError
from fedlearn.experiment import Experiment
from fedlearn.experiment.personal import personal_workbench
from fedlearn.experiment.reserved import folds
from fedlearn.experiment.virtual import VirtualClients
from fedlearn.remedies.penalties.proximal import Proximal
from fedlearn.runs.result import Personalisation, Result
from fedlearn.simulation import simulate
from fedlearn.simulation.personalise import mean_loss
from fedlearn.training.batches import RecordSet

Make = Callable[..., Experiment]
OWN = {"enabled": True, "epochs": 3}


def opposed(records: int, *, strangers: int = 0) -> Experiment:
    """Two kinds of client that call the same records by opposite classes: no one model serves both."""
    rng = np.random.default_rng(0)
    clients = {}
    for number in range(6):
        inputs = torch.tensor(rng.normal(size=(records, 2)), dtype=torch.float32)
        targets = (inputs[:, 0] > 0).long()
        clients[f"client-{number}"] = TensorDataset(inputs, targets if number % 2 else 1 - targets)
    return Experiment.from_dict(
        {
            "rounds": 3,
            "metrics": ["accuracy"],
            "data": {"unseen_clients": strangers},
            "model": {"name": "logistic", "arguments": {"classes": 2}},
            "training": {"learning_rate": 0.5, "local_steps": 5},
            "personalisation": {"enabled": True, "epochs": 30},
        },
        clients=clients,
        test=clients["client-1"],
    )


def own_of(result: Result) -> Personalisation:
    assert result.personalisation is not None
    return result.personalisation


def test_clients_that_no_one_model_serves_keep_their_own(tmp_path: Path) -> None:
    found = own_of(simulate(opposed(40), out=tmp_path / "run", workers=1))
    kept = {model.kept for model in found.clients.values()}
    assert "global" not in kept
    assert found.clients["client-1"].own["accuracy"] >= 0.95  # type: ignore[operator]
    # The others call these records by the other classes, and are right to.
    assert found.clients["client-0"].own["accuracy"] <= 0.05  # type: ignore[operator]


def alike(clients: int) -> dict[str, TensorDataset]:
    """Clients that agree, each with few records, some of which have the wrong label."""
    rng = np.random.default_rng(1)
    made = {}
    for number in range(clients):
        inputs = torch.tensor(rng.normal(size=(40, 10)), dtype=torch.float32)
        wrong = torch.tensor(rng.random(40) < 0.15)
        made[f"client-{number:02d}"] = TensorDataset(inputs, ((inputs[:, 0] > 0) ^ wrong).long())
    return made


def test_a_federated_model_that_serves_is_kept(tmp_path: Path) -> None:
    """On eight records of ten features a client alone learns its wrong labels by heart."""
    clients = alike(12)
    made = Experiment.from_dict(
        {
            "rounds": 10,
            "metrics": ["accuracy"],
            "model": {"name": "logistic", "arguments": {"classes": 2}},
            "training": {"learning_rate": 0.5, "local_steps": 5},
            "personalisation": {"enabled": True, "validation_fraction": 0.8, "epochs": 100},
        },
        clients=clients,
        test=clients["client-00"],
    )
    found = own_of(simulate(made, out=tmp_path / "run", workers=1))
    kept = [model.kept for model in found.clients.values()]
    assert kept.count("global") > len(kept) / 2


def test_the_federation_does_not_see_what_the_choice_is_made_on(experiment: Make) -> None:
    plain, gated = experiment(), experiment(personalisation={**OWN, "validation_fraction": 0.25})
    for name, data in gated.population.clients.items():
        whole, validation = plain.population.clients[name], data.validation
        assert validation is not None
        assert isinstance(data.train, TensorDataset)
        assert isinstance(validation, TensorDataset)
        assert len(data.train) + len(validation) == whole.size
        assert len(validation) == pytest.approx(0.25 * whole.size, abs=2.01)
        seen = {row.numpy().tobytes() for row in data.train.tensors[0]}
        assert not any(row.numpy().tobytes() in seen for row in validation.tensors[0])
        assert (data.size, data.declared_size) == (len(data.train), len(data.train))


def test_strangers_take_no_part_and_are_measured_too(tmp_path: Path) -> None:
    made = opposed(40, strangers=2)
    assert len(made.population.clients) == 4
    assert not made.population.unseen.keys() & made.population.clients.keys()
    found = own_of(simulate(made, out=tmp_path / "run", workers=1))
    assert found.unseen.keys() == made.population.unseen.keys()
    assert set(found.unseen_means) == {"global", "personal", "local", "own"}


@pytest.mark.parametrize(
    "stage", [{"pretraining": {"rounds": 1}}, {"synthesis": {"rounds": 1, "unprotected": True}}], ids=str
)
def test_what_runs_before_the_first_round_changes_none_of_it(tmp_path: Path, stage: dict[str, Any]) -> None:
    plain = opposed(40, strangers=2)
    config = plain.config.with_settings(remedies=stage, model={"name": "mlp", "arguments": {"classes": 2}})
    found = own_of(simulate(replace(plain, config=config), out=tmp_path / "run", workers=1))
    assert (len(found.clients), len(found.unseen)) == (4, 2)


def test_a_site_knows_no_strangers() -> None:
    asked = opposed(40, strangers=2)
    as_a_site = replace(opposed(40).population, test=None)
    config = asked.config.with_settings(personalisation={})
    with pytest.raises(ConfigError, match=r"data\.unseen_clients on sites"):
        Experiment(config=config, known=as_a_site)


def test_all_records_of_a_stranger_judge_in_turn() -> None:
    """Each in one fold, never in that fold's training part; classes spread evenly, a lone record kept."""
    made = opposed(40, strangers=2)
    for name, data in made.population.unseen.items():
        assert data.validation is None
        assert isinstance(data.train, TensorDataset)
        inputs, targets = data.train.tensors
        alone = torch.cat([targets[:-1], torch.tensor([7])])
        labelled = replace(data, train=TensorDataset(inputs, alone))
        judged = []
        for fold in folds(name, labelled, made.config):
            train, validation = (_rows(part) for part in (fold.train, fold.validation))
            assert len(train) + len(validation) == 40
            assert not set(train) & set(validation)
            judged += validation
        assert len(judged) == len(set(judged)) == 39
        assert inputs[-1].numpy().tobytes() not in judged


def test_strangers_keep_what_their_own_records_favour(tmp_path: Path) -> None:
    found = own_of(simulate(opposed(40, strangers=2), out=tmp_path / "run", workers=1))
    assert {model.kept for model in found.unseen.values()} <= {"personal", "local"}


def _rows(records: RecordSet) -> list[bytes]:
    assert isinstance(records, TensorDataset)
    return [row.numpy().tobytes() for row in records.tensors[0]]


def test_means_are_over_held_out_records(experiment: Make, tmp_path: Path) -> None:
    found = own_of(simulate(experiment(personalisation=OWN), out=tmp_path / "run", workers=1))
    right = sum((model.own["accuracy"] or 0.0) * model.records for model in found.clients.values())
    total = sum(model.records for model in found.clients.values())
    assert found.means["own"]["accuracy"] == pytest.approx(right / total)
    for model in found.clients.values():
        kept = {"global": model.global_, "personal": model.personal, "local": model.local}[model.kept]
        assert model.own == kept


@pytest.mark.parametrize("privacy", [{}, {"enabled": True, "noise_multiplier": 1.0, "delta": 1e-3}])
def test_ditto_leaves_the_federated_model_and_its_price_alone(
    experiment: Make, tmp_path: Path, privacy: dict[str, Any]
) -> None:
    """Apart from the records that are set aside, with and without Ditto the same bits travel."""
    sections = {"privacy": privacy, "reproducible_noise": True}
    results = {}
    for method in ("ditto", "fine-tune"):
        made = experiment(personalisation={**OWN, "method": method}, **sections)
        results[method] = simulate(made, out=tmp_path / method, workers=1)
    ditto, plain = (load_file(tmp_path / method / "model.safetensors") for method in results)
    assert all(np.array_equal(ditto[name], plain[name]) for name in plain)
    assert results["ditto"].privacy == results["fine-tune"].privacy


def test_ditto_is_the_same_for_any_number_of_workers(experiment: Make, tmp_path: Path) -> None:
    made = experiment(personalisation={**OWN, "method": "ditto", "strength": 1.0})
    one, two = (simulate(made, out=tmp_path / str(count), workers=count) for count in (1, 2))
    assert own_of(one) == own_of(two)


def test_the_personal_model_is_pulled_by_what_was_asked_for(experiment: Make) -> None:
    bench = personal_workbench(
        experiment(personalisation={**OWN, "method": "ditto", "strength": 0.7, "learning_rate": 0.03})
    )
    assert (bench.recipe.penalties, bench.recipe.learning_rate) == ((Proximal(strength=0.7),), 0.03)
    assert personal_workbench(experiment(personalisation=OWN)).recipe.penalties == ()


def test_the_statement_says_what_holds_and_what_does_not(experiment: Make, tmp_path: Path) -> None:
    simulate(experiment(personalisation=OWN), out=tmp_path / "run", workers=1)
    said = (tmp_path / "run" / "privacy_statement.json").read_text(encoding="utf-8")
    assert "no ε is spent on it" in said
    assert "its records are not protected" in said
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "What a model of its own gives each client" in page


def test_a_loss_that_is_not_finite_is_never_favoured(experiment: Make) -> None:
    made = experiment(personalisation=OWN)
    bench, records = made.workbench(), made.population.clients["client-0"].validation
    assert records is not None
    assert np.isfinite(mean_loss(bench, records))
    bench.model.values.fill_(float("nan"))
    assert mean_loss(bench, records) == float("inf")


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "ditto with own layers": (
        {"personalisation": {**OWN, "method": "ditto"}, "model": {"name": "mlp", "local_layers": ["head.*"]}},
        "use 'fine-tune'",
    ),
    "only strangers": (
        {"data": {"dataset": "digits", "partition": {"clients": 3}, "unseen_clients": 3}},
        "leaves nobody to train",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_go_together_is_refused(experiment: Make, case: str) -> None:
    sections, reason = REFUSED[case]
    with pytest.raises(ConfigError, match=reason):
        _ = experiment(**sections).population


def test_virtual_clients_have_nothing_to_set_aside() -> None:
    made = Experiment.from_dict(
        {"personalisation": OWN},
        clients=VirtualClients(count=3, records=lambda index: TensorDataset(torch.zeros(4, 2)), size=4),
        model=lambda: torch.nn.Linear(2, 2),
    )
    with pytest.raises(ConfigError, match="virtual clients"):
        _ = made.population
