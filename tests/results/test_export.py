"""An exported file gives what the model gives, from records in their public unit, in every format."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from fedlearn.cli.main import main
from fedlearn.data.datasets.breast_cancer import breast_cancer
from fedlearn.errors import MissingExtra, RunDirectoryError, RunError
from fedlearn.models import MODELS
from fedlearn.results import load_model
from fedlearn.results.deployed import Deployed
from fedlearn.results.export import FORMATS
from fedlearn.results.export import exporting as module_under_test
from fedlearn.results.export.exporting import Reference, drawn_reference, export_model
from fedlearn.results.export.int8_layers import quantised, with_int8_weights
from fedlearn.results.export.onnx_file import OnnxFile
from fedlearn.results.export.pt2_file import Pt2File
from fedlearn.results.prediction import outputs_of
from fedlearn.runs.result import OwnModel, Result
from tests.results.runs import TABLE, a_run

RECORDS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "cnn": ((1, 8, 8), {}),
    "tanh-cnn": ((1, 28, 28), {}),
    "resnet-gn": ((3, 16, 16), {}),
    "lstm": ((12,), {"vocabulary": 9}),
    "transformer": ((12,), {"vocabulary": 9}),
}


def a_model(name: str) -> tuple[nn.Module, torch.Tensor]:
    """Returns a registered model as it is deployed, and five records for it."""
    shape, arguments = RECORDS.get(name, ((6,), {}))
    torch.manual_seed(3)
    module = MODELS.build(name, arguments, shape=shape, classes=9)
    classifier = getattr(module, "output", "logits") == "logits"
    records = torch.randint(9, (5, *shape)) if arguments else torch.rand(5, *shape)
    return Deployed(module, scale=None, classifier=classifier).eval(), records


@pytest.mark.slow
@pytest.mark.parametrize("format", sorted(FORMATS))
@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_model_in_every_format(name: str, format: str, tmp_path: Path) -> None:
    model, records = a_model(name)
    wanted = model(records).detach().numpy()
    written = FORMATS.build(format, {})
    written.write(model, records[:2], tmp_path / "whole")
    run = written.open(tmp_path / "whole")
    for count in (1, 2, 5):
        np.testing.assert_allclose(run(records[:count].numpy()), wanted[:count], atol=1e-5)
    written.write_int8(model, records[:2], tmp_path / "small")
    # Eight bits keep each weight within 1/254 of its row's largest; probabilities move little.
    np.testing.assert_allclose(written.open(tmp_path / "small")(records.numpy()), wanted, atol=0.1)


@pytest.mark.parametrize("kind", ["table_run", "federated_run"])
def test_preprocessing_is_in_the_file(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    loaded = load_model(request.getfixturevalue(kind))
    inputs = breast_cancer().records.inputs[:30]
    reference = Reference(inputs=inputs, source="a test")
    source, file = export_model(loaded, ["pt2"], out=tmp_path, reference=reference, metrics={})
    assert file.difference <= 1e-5
    assert source.difference == 0
    run = Pt2File().open(tmp_path / "model.pt2")
    np.testing.assert_allclose(run(inputs), outputs_of(loaded.deployed(), inputs), atol=1e-5)


@pytest.mark.parametrize(
    ("format", "use"),
    [
        ("pt2", 'torch.export.load("model.int8.pt2")'),
        pytest.param("onnx", 'onnxruntime.InferenceSession("model.int8.onnx")', marks=pytest.mark.slow),
    ],
)
def test_a_folder_with_card_statement_and_figures(
    table_run: Path, tmp_path: Path, format: str, use: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deploy"
    assert main(["export", str(table_run), f"--{format}", "--int8", "--out", str(out)]) == 0
    names = {f"model.{format}", f"model.int8.{format}", "model_card.md"}
    assert {path.name for path in out.iterdir()} == names | {"privacy_statement.json"}
    card = (out / "model_card.md").read_text()
    accuracy = json.loads((table_run / "result.json").read_text())["final"]["accuracy"]
    for part in (
        "# Model card: table",
        "mean radius, mean texture",
        "standardisation is part of the files",
        "## Files, before and after compression",
        f"{accuracy:.4f}",
        "No record leaves the client that holds it",
        "Not covered:",
        "### Privacy of run table-0",
        use,
    ):
        assert part in card
    for name in names - {"model_card.md"}:
        assert f"| {name} |" in card
        assert f"{(out / name).stat().st_size:,}" in card
    assert f"model.int8.{format}" in capsys.readouterr().out


def test_the_card_of_a_client_s_own_model_promises_its_records_nothing(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run", TABLE, personalisation={"enabled": True, "epochs": 2, "keep_models": True})
    client, found = next(iter(own_models(run).items()))
    out = tmp_path / "deploy"
    assert main(["export", str(run), "--pt2", "--client", client, "--out", str(out)]) == 0
    card = (out / "model_card.md").read_text()
    for part in (
        f"# Model card: table, {client}'s own model",
        f"For {client} alone",
        f"{found.own['accuracy']:.4f} on its {found.records} held-out records",
        "It was trained on",
    ):
        assert part in card


def own_models(run: Path) -> dict[str, OwnModel]:
    found = Result.load(run).personalisation
    assert found is not None
    return found.clients


def test_a_file_that_differs_is_removed(
    table_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_model(table_run)
    opened = Pt2File.open

    def broken(self: Pt2File, path: Path) -> Any:
        run = opened(self, path)
        return lambda inputs: run(inputs) + 0.01

    monkeypatch.setattr(Pt2File, "open", broken)
    reference = drawn_reference(loaded, rng=np.random.default_rng(0))
    with pytest.raises(RunError, match=r"differ by 0\.01"):
        export_model(loaded, ["pt2"], out=tmp_path, reference=reference, metrics={})
    assert not (tmp_path / "model.pt2").exists()
    assert module_under_test.TOLERANCE < 0.01


def test_records_are_drawn_where_none_are_at_hand(table_run: Path) -> None:
    loaded = load_model(table_run)
    reference = drawn_reference(loaded, rng=np.random.default_rng(0))
    assert reference.inputs.shape == (256, 30)
    assert reference.targets is None
    scale = loaded.signature.scale
    assert scale is not None
    assert abs(float(scale.apply(reference.inputs).mean())) < 0.1


def test_constants_of_clients_cannot_be_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = a_run(tmp_path / "local", TABLE, data={"standardise": "local"})
    argv = ["export", str(run), "--pt2", "--out", str(tmp_path / "e")]
    assert main(argv) == 2
    assert "pass --as-is" in capsys.readouterr().err
    assert main([*argv, "--as-is"]) == 0
    assert "preprocessing is not in the files" in (tmp_path / "e" / "model_card.md").read_text()


def test_no_format_and_no_folder_are_one_line(
    table_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(table_run), "--out", str(tmp_path)]) == 2
    assert "--onnx, --pt2 or both" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    argv = ["export", str(table_run), "--pt2", "--out", str(tmp_path / "file" / "below")]
    assert main(argv) == RunDirectoryError.exit_code
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("library", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_library_names_its_extra(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtra, match=r"pip install 'fedlearn\[export\]'"):
        OnnxFile()


OPENS_A_MODEL = """
import os
import subprocess
import sys
from pathlib import Path

from fedlearn.results.export.onnx_file import OnnxFile

file = OnnxFile()
from onnx import TensorProto, helper, save

values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("inputs", "outputs")]
node = helper.make_node("Identity", ["inputs"], ["outputs"])
graph = helper.make_graph([node], "same", values[:1], values[1:])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
save(model, sys.argv[1])
import numpy as np

assert file.open(Path(sys.argv[1]))(np.ones(1, np.float32)) == 1.0
"""


def test_nobody_is_told_that_onnx_runtime_is_used(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    heard = ("CI", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in heard}
    subprocess.run(
        [sys.executable, "-c", OPENS_A_MODEL, str(tmp_path / "same.onnx")],
        env={**environment, "HOME": str(home)},
        check=True,
    )
    assert list(home.rglob("*")) == []  # its identifier of the machine, first of all


weights = arrays(
    np.float32, st.tuples(st.integers(1, 4), st.integers(1, 6)), elements=st.floats(-100, 100, width=32)
)


@given(weights)
def test_no_weight_is_off_by_more_than_half_a_step(weight: Any) -> None:
    values, scale = quantised(torch.from_numpy(weight))
    error = (values.float() * scale - torch.from_numpy(weight)).abs()
    assert bool((error <= scale / 2 * (1 + 1e-5) + 1e-30).all())
    assert int(values.abs().max()) <= 127


def test_small_layers_stay_and_large_ones_shrink() -> None:
    model = nn.Sequential(nn.Linear(4, 2), nn.Linear(32, 32), nn.Embedding(8, 2), nn.Conv2d(3, 8, 3))
    bytes_before = sum(p.numel() * 4 for p in model[1].parameters())
    with_int8_weights(model)
    assert [type(layer).__name__ for layer in model] == ["Linear", "Int8Layer", "Embedding", "Int8Layer"]
    held = [*model[1].buffers(), *model[1].parameters()]
    assert sum(tensor.numel() * tensor.element_size() for tensor in held) < 0.4 * bytes_before
