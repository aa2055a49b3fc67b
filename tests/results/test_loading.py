"""A run directory alone brings its model back: the numbers of the run, from records in their public unit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from fedlearn import simulate
from fedlearn.cli.main import main
from fedlearn.data.datasets.breast_cancer import breast_cancer
from fedlearn.errors import ConfigError, DataError, ModelError, RunDirectoryError
from fedlearn.experiment import Experiment
from fedlearn.results import load_model
from fedlearn.results.data import held_out
from fedlearn.results.prediction import outputs_of
from fedlearn.results.published import with_constants_of
from fedlearn.runs.result import Result
from fedlearn.runs.signature import Signature
from tests.results.runs import TABLE, a_run


@pytest.mark.parametrize("kind", ["table_run", "federated_run", "image_run"])
def test_the_model_gives_the_metrics_of_its_run(kind: str, request: pytest.FixtureRequest) -> None:
    loaded = load_model(request.getfixturevalue(kind))
    records = held_out(loaded).records
    assert isinstance(records, TensorDataset)
    with torch.no_grad():
        found = loaded.module(records.tensors[0]).argmax(dim=1)
    accuracy = float((found == records.tensors[1]).float().mean())
    assert accuracy == pytest.approx(loaded.result.final["accuracy"], abs=1e-6)


@pytest.mark.parametrize("kind", ["table_run", "federated_run"])
def test_raw_records_give_what_standardised_ones_gave(kind: str, request: pytest.FixtureRequest) -> None:
    loaded = load_model(request.getfixturevalue(kind))
    data_set = breast_cancer()
    assert data_set.scale is not None
    raw = data_set.records.inputs[:50]
    with torch.no_grad():
        wanted = torch.softmax(loaded.module(torch.from_numpy(data_set.scale.apply(raw))), dim=1)
    np.testing.assert_allclose(outputs_of(loaded.deployed(), raw), wanted.numpy(), atol=1e-5)


def test_the_signature_is_public_and_names_features(table_run: Path) -> None:
    signature = Signature.load(table_run)
    assert signature.features is not None
    assert signature.features[0] == "mean radius"
    assert signature.standardised_by == "constants"
    assert (signature.shape, signature.dtype, signature.classes) == ([30], "float32", 2)


def test_constants_of_clients_stay_with_them(tmp_path: Path) -> None:
    run = a_run(tmp_path / "local", TABLE, data={"standardise": "local"})
    loaded = load_model(run)
    assert loaded.signature.center is None
    with pytest.raises(ConfigError, match="each client's own constants, which the run does not hold"):
        loaded.deployed()
    assert loaded.deployed(as_is=True).scaled is False


def of_sites(run: Path, path: Path) -> Path:
    """Returns a run directory as the server of sites writes it: it knew neither constants nor names."""
    shutil.copytree(run, path)
    told = json.loads((path / "signature.json").read_text())
    told |= {"standardised_by": "unknown constants", "center": None, "spread": None, "features": None}
    (path / "signature.json").write_text(json.dumps(told))
    return path


def test_who_knows_the_data_set_of_sites_can_name_it(table_run: Path, tmp_path: Path) -> None:
    unknown = load_model(of_sites(table_run, tmp_path / "sites"))
    with pytest.raises(ConfigError, match="name the data set with --constants, or pass --as-is"):
        unknown.deployed()
    named = with_constants_of(unknown, "breast-cancer")
    assert named.signature == Signature.load(table_run)
    raw = breast_cancer().records.inputs[:50]
    np.testing.assert_array_equal(
        outputs_of(named.deployed(), raw), outputs_of(load_model(table_run).deployed(), raw)
    )


def test_constants_that_are_known_or_do_not_fit_are_refused(table_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="leave --constants out"):
        with_constants_of(load_model(table_run), "breast-cancer")
    with pytest.raises(DataError, match=r"shape \[1, 8, 8\], the model takes \[30\]"):
        with_constants_of(load_model(of_sites(table_run, tmp_path / "sites")), "digits")


def test_predict_takes_the_constants_of_a_data_set(
    table_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sites = of_sites(table_run, tmp_path / "sites")
    file = tmp_path / "inputs.npz"
    np.savez(file, inputs=breast_cancer().records.inputs[:5])
    assert main(["predict", str(table_run), str(file)]) == 0
    wanted = capsys.readouterr().out
    assert main(["predict", str(sites), str(file)]) != 0
    assert "--constants" in capsys.readouterr().err
    assert main(["predict", str(sites), str(file), "--constants", "breast-cancer"]) == 0
    assert capsys.readouterr().out == wanted


@pytest.mark.parametrize("tuning", ["head", "lora"])
def test_a_tuned_model_comes_back_untuned(tmp_path: Path, tuning: str) -> None:
    values = {**TABLE, "model": {"name": "mlp"}}
    run = a_run(tmp_path / tuning, values, remedies={"tuning": {"name": tuning}})
    loaded = load_model(run)
    records = held_out(loaded).records
    assert isinstance(records, TensorDataset)
    with torch.no_grad():
        found = loaded.module(records.tensors[0]).argmax(dim=1)
    accuracy = float((found == records.tensors[1]).float().mean())
    assert accuracy == pytest.approx(loaded.result.final["accuracy"], abs=1e-6)


def test_an_own_model_must_be_given_again(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    clients = {name: TensorDataset(torch.rand(8, 3), torch.arange(8) % 2) for name in "abc"}
    experiment = Experiment.from_dict({"rounds": 1, "data": {}}, model=model, clients=clients)
    simulate(experiment, out=tmp_path / "own", workers=1)
    with pytest.raises(ConfigError, match="given as an object"):
        load_model(tmp_path / "own")
    assert load_model(tmp_path / "own", model=model).signature.shape == [3]
    with pytest.raises(ModelError, match="does not fit"):
        load_model(tmp_path / "own", model=nn.Linear(3, 2))


@pytest.mark.parametrize("missing", ["result.json", "signature.json", "model.safetensors"])
@pytest.mark.parametrize("command", ["evaluate", "explain", "export", "predict"])
def test_an_incomplete_run_is_one_line_and_an_exit_code(
    table_run: Path, tmp_path: Path, missing: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = tmp_path / "cut"
    shutil.copytree(table_run, copied)
    (copied / missing).unlink()
    more = {"predict": ["x.csv"], "export": ["--onnx", "--out", str(tmp_path / "e")]}.get(command, [])
    assert main([command, str(copied), *more]) == RunDirectoryError.exit_code
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert "RunDirectoryError" in printed
    assert missing in printed


@pytest.mark.parametrize("command", ["evaluate", "explain", "report"])
def test_a_foreign_folder_is_no_run(tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("nothing of ours")
    assert main([command, str(tmp_path)]) == RunDirectoryError.exit_code
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [31]},
        {"shape": []},
        {"spread": [0.0] * 30},
        {"center": None},
        {"standardised_by": "nothing"},
        {"features": ["a"]},
        {"strange": 1},
        {"schema_version": 2},
    ],
)
def test_an_altered_signature_is_refused(table_run: Path, tmp_path: Path, change: dict[str, object]) -> None:
    values = json.loads((table_run / "signature.json").read_text())
    (tmp_path / "signature.json").write_text(json.dumps(values | change))
    with pytest.raises(RunDirectoryError, match="cannot be read"):
        Signature.load(tmp_path)


def test_weights_of_another_model_are_refused(table_run: Path, image_run: Path, tmp_path: Path) -> None:
    copied = tmp_path / "mixed"
    shutil.copytree(table_run, copied)
    shutil.copy(image_run / "model.safetensors", copied)
    with pytest.raises(ModelError, match="does not fit the experiment"):
        load_model(copied)
    (copied / "model.safetensors").write_bytes(b"no such thing")
    with pytest.raises(RunDirectoryError, match="no safetensors file"):
        load_model(copied)


def test_a_client_s_own_model_is_used_where_the_run_keeps_it(
    table_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {"enabled": True, "epochs": 20, "keep_models": True}
    run = a_run(tmp_path / "run", TABLE, personalisation=own, data={"unseen_clients": 1})
    kept = Result.load(run).personalisation
    assert kept is not None
    assert (len(kept.clients), len(kept.unseen)) == (2, 1)
    for client, found in {**kept.clients, **kept.unseen}.items():
        assert main(["evaluate", str(run), "--client", client, "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["records"] == found.records
        assert told["metrics"]["accuracy"]["value"] == pytest.approx(found.own["accuracy"])
        assert client in told["source"]
    assert main(["evaluate", str(run), "--client", "nobody"]) != 0
    assert "keeps 3 of other clients" in capsys.readouterr().err
    assert main(["evaluate", str(table_run), "--client", client]) != 0
    assert "personalisation.keep_models=true" in capsys.readouterr().err
    assert "own models" in (run / "privacy_statement.json").read_text(encoding="utf-8")
    # A run that follows in the same folder and keeps none leaves none.
    assert not (a_run(run, TABLE) / "own-models").exists()
