"""Remedies in an experiment: what goes together, what is refused and why, and what a run makes of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import TensorDataset

import fedlearn
from fedlearn.errors import ConfigError, DataError, FedLearnError, ModelError, PrivacyError, UnknownName
from fedlearn.experiment import Experiment
from fedlearn.simulation.simulate import simulate

DIGITS: dict[str, Any] = {
    "name": "small",
    "rounds": 2,
    "metrics": ["accuracy"],
    "data": {
        "dataset": "digits",
        "partition": {"clients": 5},
        "scarcity": {"records_per_client": 20},
    },
    "model": {"name": "cnn", "arguments": {"channels": 4, "hidden": 8}},
    "training": {"batch_size": 10, "learning_rate": 0.1},
    "reproducible_noise": True,
}
TABLE = DIGITS | {
    "data": {"dataset": "breast-cancer", "partition": {"clients": 5}},
    "model": {"name": "mlp", "arguments": {"hidden": [8]}},
}
SHIFT: dict[str, Any] = {"augmentation": [{"name": "shift", "arguments": {"pixels": 1}}]}
PRIVATE: dict[str, Any] = {"privacy": {"enabled": True, "epsilon": 8.0, "delta": 1e-3}}
MASKED: dict[str, Any] = {"secure_aggregation": {"enabled": True, "mode": "ideal"}}


def experiment(base: dict[str, Any] = DIGITS, **sections: Any) -> Experiment:
    return Experiment.from_dict({**base, **sections})


def refusal(base: dict[str, Any] = DIGITS, **sections: Any) -> FedLearnError:
    with pytest.raises(FedLearnError) as caught:
        _ = experiment(base, **sections).population
    return caught.value


@pytest.mark.parametrize(
    ("remedies", "sections", "kind", "says"),
    [
        ({"augmentation": [{"name": "shfit"}]}, {}, UnknownName, "Did you mean 'shift'"),
        (
            {"augmentation": [{"name": "shift", "arguments": {"pixel": 1}}]},
            {},
            ConfigError,
            "takes no argument 'pixel'",
        ),
        ({"views": 4}, {}, ConfigError, "views=4 and no augmentation"),
        ({"augmentation": [{"name": "mixup"}]}, PRIVATE, PrivacyError, "Mixup mixes two records"),
        (
            {"augmentation": [{"name": "token-dropout"}]},
            {},
            DataError,
            "TokenDropout is for text records; these are image",
        ),
        (
            {"label_smoothing": 0.1},
            {"training": {"loss": "mse"}},
            ConfigError,
            "training.loss='mse' has no classes",
        ),
        ({"penalties": [{"name": "l1"}]}, {}, ConfigError, "needs the argument 'strength'"),
        (
            {"penalties": [{"name": "l2", "arguments": {"strength": 0.0}}]},
            {},
            ConfigError,
            "strength=0.0 must be positive",
        ),
        ({"initial": {"part": "body"}}, {}, ConfigError, "remedies.initial.name is missing"),
        ({"tuning": {"name": "haed"}}, {}, UnknownName, "Did you mean 'head'"),
    ],
)
def test_what_does_not_go_together_is_refused_with_the_reason(
    remedies: dict[str, Any], sections: dict[str, Any], kind: type[FedLearnError], says: str
) -> None:
    error = refusal(remedies=remedies, **sections)
    assert type(error) is kind
    assert says in str(error)


def test_images_views_of_a_table_are_refused() -> None:
    assert "Shift is for image records; these are tabular" in str(refusal(TABLE, remedies=SHIFT))


def test_penalties_have_no_place_where_the_server_takes_the_step() -> None:
    shared = {
        "privacy": PRIVATE["privacy"] | {"noise": "distributed"},
        **MASKED,
        "training": {"local_steps": 1},
    }
    penalties = {"penalties": [{"name": "l2", "arguments": {"strength": 0.1}}]}
    assert "the server takes the step" in str(refusal(remedies=penalties, **shared))


def test_mixup_is_allowed_where_the_unit_is_a_client() -> None:
    client = {
        "privacy": {"enabled": True, "unit": "client", "noise": "central", "epsilon": 8.0, "delta": 1e-2}
    }
    client |= {"aggregation": {"weights": "uniform"}}
    mixing = experiment(remedies={"augmentation": [{"name": "mixup"}]}, **client)
    assert mixing.recipe.augmentations.mixing is not None


def test_data_given_as_objects_have_a_kind() -> None:
    texts = TensorDataset(torch.randint(5, (6, 4)), torch.randint(2, (6,)))
    model = {"name": "lstm", "arguments": {"vocabulary": 5, "classes": 2}}
    own = {"clients": {"a": texts, "b": texts}}
    good = Experiment.from_dict(
        {"model": model, "remedies": {"augmentation": [{"name": "token-dropout"}]}}, **own
    )
    assert len(good.population.names) == 2
    with pytest.raises(DataError, match="Shift is for image records; these are text"):
        _ = Experiment.from_dict({"model": model, "remedies": SHIFT}, **own).population


def run(tmp_path: Path, name: str = "run", base: dict[str, Any] = DIGITS, **sections: Any) -> Any:
    return simulate(experiment(base, **sections), out=tmp_path / name, workers=1)


ALL: dict[str, Any] = SHIFT | {
    "views": 2,
    "label_smoothing": 0.1,
    "penalties": [
        {"name": "l1", "arguments": {"strength": 1e-4}},
        {"name": "proximal", "arguments": {"strength": 0.1}},
    ],
}


@pytest.mark.parametrize(
    "protection", [{}, PRIVATE, MASKED, PRIVATE | MASKED], ids=["plain", "dp", "secure", "both"]
)
def test_composed_remedies_run_under_every_protection(tmp_path: Path, protection: dict[str, Any]) -> None:
    with_them = run(tmp_path, remedies=ALL, **protection)
    without = run(tmp_path, "without", **protection)
    assert with_them.rounds == 2
    # Views, smoothing and penalties are charged nothing.
    assert with_them.epsilon == without.epsilon
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("run", "without"))
    assert any(not torch.equal(ours[name], theirs[name]) for name in ours)


def test_any_number_of_workers_gives_the_same_model(tmp_path: Path) -> None:
    """Bit for bit: with a generator and pretraining before, whose rounds the first process answers."""
    stages = {"pretraining": {"rounds": 2}, "synthesis": {"rounds": 2, "records": 10, "unprotected": True}}
    weights = []
    for workers in (1, 2):
        out = tmp_path / str(workers)
        simulate(experiment(remedies=ALL | stages), out=out, workers=workers)
        weights.append((out / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_shared_noise_takes_views(tmp_path: Path) -> None:
    shared = {
        "privacy": PRIVATE["privacy"] | {"noise": "distributed"},
        **MASKED,
        "training": {"local_steps": 1},
    }
    assert run(tmp_path, remedies=SHIFT | {"views": 2}, **shared).rounds == 2


@pytest.mark.parametrize("tuning", ["head", "lora"])
def test_only_what_is_trained_travels_and_the_model_is_whole(tmp_path: Path, tuning: str) -> None:
    whole = experiment()
    tuned = experiment(remedies={"tuning": {"name": tuning}}, **MASKED)
    assert tuned.initial_params.size < whole.initial_params.size
    assert tuned.count_parameters() == tuned.initial_params.size
    result = simulate(tuned, out=tmp_path / "run", workers=1)
    upload = [
        json.loads(line)["bytes_up"] for line in (tmp_path / "run" / "rounds.jsonl").read_text().splitlines()
    ]
    assert all(0 < sent - 5 * 4 * tuned.initial_params.size < 5 * 512 for sent in upload)
    # The file is that of the plain model, and does what the tuned one did.
    plain = whole.build_model().module
    plain.load_state_dict(load_file(tmp_path / "run" / "model.safetensors"))
    assert result.final["accuracy"] == pytest.approx(accuracy_of(plain, whole), abs=1e-6)


def accuracy_of(module: torch.nn.Module, of: Experiment) -> float:
    test = of.population.test
    assert isinstance(test, TensorDataset)
    inputs, targets = test.tensors
    return float((module(inputs).argmax(dim=1) == targets).float().mean())


def test_a_run_starts_from_public_weights_and_says_so(tmp_path: Path) -> None:
    run(tmp_path, "first")
    file = tmp_path / "first" / "model.safetensors"
    initial = {"name": "safetensors", "arguments": {"file": str(file)}, "part": "body"}
    second = experiment(remedies={"initial": initial, "tuning": {"name": "head"}})
    result = simulate(second, out=tmp_path / "second", workers=1)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert result.manifest.initial_weights == f"model.safetensors (body), SHA-256 {digest}"
    before, after = load_file(file), load_file(tmp_path / "second" / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("body."))
    assert not torch.equal(before["head.weight"], after["head.weight"])
    with pytest.raises(ConfigError, match=f"has SHA-256 {digest}, remedies.initial.sha256 is {'0' * 64}"):
        experiment(remedies={"initial": initial | {"sha256": "0" * 64}}).build_model()


def test_weights_of_another_model_name_the_layer(tmp_path: Path) -> None:
    file = tmp_path / "other.safetensors"
    state = (
        experiment(model={"name": "cnn", "arguments": {"channels": 4, "hidden": 9}})
        .build_model()
        .module.state_dict()
    )
    save_file(state, file)
    initial = {"name": "safetensors", "arguments": {"file": str(file)}}
    with pytest.raises(ModelError, match=r"body\.7\.weight is \(9, 32\) there and \(8, 32\) in the model"):
        experiment(remedies={"initial": initial}).build_model()
    save_file({name: value for name, value in state.items() if name != "body.3.bias"}, file)
    with pytest.raises(ModelError, match=r"has no weights for body\.3\.bias"):
        experiment(remedies={"initial": initial}).build_model()
    save_file(state | {"tail.weight": torch.zeros(2)}, file)
    with pytest.raises(ModelError, match=r"has no place for: tail\.weight"):
        experiment(remedies={"initial": initial}).build_model()


@pytest.mark.parametrize("content", [b"", b"\x80\x04pickle", b"\xff" * 64])
def test_a_file_that_is_no_safetensors_is_an_error_of_ours(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    for initial in (
        {"name": "safetensors", "arguments": {"file": str(file)}},
        {"name": "hugging-face", "arguments": {"folder": str(tmp_path)}},
    ):
        with pytest.raises(ConfigError, match="cannot be read as safetensors"):
            experiment(remedies={"initial": initial}).build_model()


def test_a_missing_file_is_an_error_of_ours(tmp_path: Path) -> None:
    initial = {"name": "safetensors", "arguments": {"file": str(tmp_path / "none")}}
    with pytest.raises(ConfigError, match="cannot be read"):
        experiment(remedies={"initial": initial}).build_model()


def test_a_folder_of_parts_is_read_by_its_index(tmp_path: Path) -> None:
    state = experiment().build_model().module.state_dict()
    halves = [dict(list(state.items())[:3]), dict(list(state.items())[3:])]
    index: dict[str, str] = {}
    for number, half in enumerate(halves):
        save_file(
            {name: torch.full_like(value, 0.25) for name, value in half.items()},
            tmp_path / f"part-{number}.safetensors",
        )
        index |= dict.fromkeys(half, f"part-{number}.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    initial = {"name": "hugging-face", "arguments": {"folder": str(tmp_path)}}
    started = experiment(remedies={"initial": initial})
    assert np.all(started.initial_params == np.float32(0.25))
    index["head.bias"] = "../part-1.safetensors"
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    with pytest.raises(ConfigError, match="outside of the folder"):
        experiment(remedies={"initial": initial}).build_model()


def test_a_folder_with_a_pickle_says_why_it_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80")
    initial = {"name": "hugging-face", "arguments": {"folder": str(tmp_path)}}
    with pytest.raises(ConfigError, match="is a pickle, which can run code"):
        experiment(remedies={"initial": initial}).build_model()


def test_federated_standardisation_composes(tmp_path: Path) -> None:
    remedies = {"augmentation": [{"name": "noise"}], "views": 2, "tuning": {"name": "lora"}}
    table = TABLE | {"data": TABLE["data"] | {"standardise": "federated"}}
    result = run(tmp_path, base=table, remedies=remedies, **PRIVATE, **MASKED)
    assert result.epsilon is not None
    assert result.epsilon <= 8.0
    state = load_file(tmp_path / "run" / "model.safetensors")
    assert {"center", "spread"} <= state.keys()
    assert not any("down" in name for name in state)


def test_the_python_interface_takes_the_same(tmp_path: Path) -> None:
    result = fedlearn.simulate(experiment(remedies=ALL), out=tmp_path / "run", workers=1)
    assert result.rounds == 2
