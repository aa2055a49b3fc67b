"""``fedlearn evaluate`` and ``fedlearn predict``: right numbers, and strict about what they are given."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import TensorDataset

from fedlearn.cli.main import main
from fedlearn.data.datasets.breast_cancer import breast_cancer
from fedlearn.errors import ConfigError, DataError
from fedlearn.results import load_model
from fedlearn.results.evaluation import estimates
from fedlearn.results.prediction import outputs_of, write_predictions
from fedlearn.results.reading import FileRecords, read_records
from fedlearn.runs.signature import Signature
from fedlearn.training.metrics import accuracy

NAMED = Signature(shape=[2], dtype="float32", classes=2, features=["age", "dose"], standardised_by="nothing")
NAMELESS = NAMED.model_copy(update={"features": None})


def table_file(path: Path, rows: int, *, order: int = 1) -> Path:
    """Writes raw records of the data set as CSV, with the columns in or against their order."""
    data_set = breast_cancer()
    assert data_set.features is not None
    names = list(data_set.features)[::order]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["patient", *names, "diagnosis"])
        for number in range(rows):
            values = data_set.records.inputs[number].tolist()[::order]
            writer.writerow([f"p{number}", *values, int(data_set.records.targets[number])])
    return path


def as_csv(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_evaluate_gives_the_metrics_of_the_run(table_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(table_run), "--json", "--repeats", "50"]) == 0
    told = json.loads(capsys.readouterr().out)
    final = json.loads((table_run / "result.json").read_text())["final"]
    for name, value in final.items():
        metric = told["metrics"][name]
        assert metric["value"] == pytest.approx(value, abs=1e-6)
        assert metric["low"] <= metric["value"] <= metric["high"]
    assert "held out by the run" in told["source"]


def test_evaluate_reads_files_in_their_public_unit(
    table_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = table_file(tmp_path / "all.csv", 120)
    text = file.read_text().replace("patient,", "", 1)
    rows = text.splitlines()
    plain = as_csv(tmp_path / "plain.csv", "\n".join([rows[0], *(row.partition(",")[2] for row in rows[1:])]))
    argv = [
        "evaluate",
        str(table_run),
        "--data",
        str(plain),
        "--target",
        "diagnosis",
        "--json",
        "--repeats",
        "5",
    ]
    assert main(argv) == 0
    told = json.loads(capsys.readouterr().out)
    data_set = breast_cancer()
    outputs = outputs_of(load_model(table_run).deployed(), data_set.records.inputs[:120])
    right = float(np.mean(outputs.argmax(axis=1) == data_set.records.targets[:120]))
    assert told["records"] == 120
    assert told["metrics"]["accuracy"]["value"] == pytest.approx(right)


def test_a_folder_of_tables_is_read_as_one(
    table_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = table_file(tmp_path / "x.txt", 6).read_text().splitlines()
    cut = [row.partition(",")[2] for row in rows]
    for name, part in (("a", cut[1:3]), ("b", cut[3:])):
        as_csv(tmp_path / f"{name}.csv", "\n".join([cut[0], *part]))
    argv = ["evaluate", str(table_run), "--data", str(tmp_path), "--target", "diagnosis", "--json"]
    assert main([*argv, "--repeats", "2"]) == 0
    assert json.loads(capsys.readouterr().out)["records"] == 6


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--data", "nowhere"], "no file, no folder and no data set"),
        (["--data", "digits"], "records of shape [1, 8, 8]"),
        (["--repeats", "0"], "--repeats 0 must be at least 1"),
    ],
)
def test_what_cannot_be_evaluated_is_one_line(
    table_run: Path, argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(table_run), *argv]) in {ConfigError.exit_code, DataError.exit_code}
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(7)
    truth, records, trials = 0.8, 150, 60
    covered = 0
    for _ in range(trials):
        right = rng.random(records) < truth
        logits = torch.zeros(records, 2)
        logits[:, 0] = torch.from_numpy(np.where(right, 1.0, -1.0)).float()
        data = TensorDataset(logits, torch.zeros(records, dtype=torch.int64))
        found = estimates(nn.Identity(), data, {"accuracy": accuracy}, repeats=200, rng=rng)["accuracy"]
        covered += found.low <= truth <= found.high
    # 95 % intervals: fewer than 49 of 60 has a chance below 1e-4 even if they cover only 92 %.
    assert covered >= 49


def test_a_metric_that_is_nowhere_defined_has_no_interval() -> None:
    data = TensorDataset(torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64))
    metrics = {"nothing": lambda targets, probabilities: float("nan")}
    found = estimates(nn.Identity(), data, metrics, repeats=3, rng=np.random.default_rng(0))["nothing"]
    assert np.isnan([found.value, found.low, found.high]).all()


@pytest.mark.parametrize("order", [1, -1])
def test_predict_goes_by_the_names_of_columns(table_run: Path, tmp_path: Path, order: int) -> None:
    file = table_file(tmp_path / "in.csv", 20, order=order)
    without = "\n".join(row.rpartition(",")[0] for row in file.read_text().splitlines())
    file.write_text(without)
    out = tmp_path / "out.csv"
    assert main(["predict", str(table_run), str(file), "--id", "patient", "--out", str(out)]) == 0
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    wanted = outputs_of(load_model(table_run).deployed(), breast_cancer().records.inputs[:20])
    assert [row["id"] for row in rows] == [f"p{number}" for number in range(20)]
    assert [int(row["class"]) for row in rows] == wanted.argmax(axis=1).tolist()
    np.testing.assert_allclose([[float(row["p0"]), float(row["p1"])] for row in rows], wanted, atol=1e-5)


def test_predict_takes_pictures_as_arrays(
    image_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "in.npz", inputs=np.random.default_rng(0).random((3, 1, 8, 8)))
    assert main(["predict", str(image_run), str(tmp_path / "in.npz")]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 3
    assert sum(float(rows[0][f"p{k}"]) for k in range(10)) == pytest.approx(1, abs=1e-4)


def test_outputs_of_no_classifier_have_no_class() -> None:
    text = io.StringIO()
    records = FileRecords(inputs=np.zeros((1, 2)), ids=["a"])
    write_predictions(records, np.array([[0.5, 2.0]], np.float32), text, classifier=False)
    assert text.getvalue() == "id,y0,y1\na,0.5,2\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lacks 'age', 'dose'"),
        ("age\n1\n", "lacks 'dose'"),
        ("age,dose,name\n1,2,x\n", "has unknown 'name'"),
        ("age,age\n1,2\n", "two columns 'age'"),
        ("age,dose\n1\n", "line 2: 1 cells under 2 columns"),
        ("age,dose\n1,2\n3,x\n", "line 3, column 'dose': 'x' is no finite number"),
        ("age,dose\n1,nan\n", "no finite number"),
        ("age,dose\n1,1e999\n", "no finite number"),
        ("age,dose\n1,1e300\n", "record 1 has a value that is not finite"),
        ("age,dose\n1,1_0\n", "no finite number"),
        ('age,dose\n"1,2\n', "no CSV file in UTF-8"),
    ],
)
def test_a_table_that_does_not_fit_is_named_where(tmp_path: Path, text: str, message: str) -> None:
    with np.errstate(over="ignore"), pytest.raises(DataError, match=message.replace("(", r"\(")):
        read_records(as_csv(tmp_path / "t.csv", text), NAMED)


def test_nameless_columns_are_counted(tmp_path: Path) -> None:
    assert read_records(as_csv(tmp_path / "t.csv", "x,y\n1,2\n"), NAMELESS).inputs.tolist() == [[1.0, 2.0]]
    with pytest.raises(DataError, match="3 columns of values, the model takes 2"):
        read_records(as_csv(tmp_path / "u.csv", "x,y,z\n1,2,3\n"), NAMELESS)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((1, 2))}, "no array 'inputs'"),
        ({"inputs": np.zeros((1, 3))}, r"float64\[1, 3\], the model takes float32\[n, 2\]"),
        ({"inputs": np.array([["a", "b"]])}, "the model takes"),
        ({"inputs": np.array([[1.0, np.inf]])}, "not finite"),
        ({"inputs": np.array([object(), object()])}, "no npz file of plain arrays"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=message):
        read_records(tmp_path / "a.npz", NAMED)


@pytest.mark.parametrize("value", [-1, 5, 0.5])
def test_a_token_outside_the_vocabulary_is_refused(tmp_path: Path, value: float) -> None:
    tokens = Signature(shape=[2], dtype="int64", classes=5, vocabulary=5, standardised_by="nothing")
    np.savez(tmp_path / "a.npz", inputs=np.array([[0, value]]))
    with pytest.raises(DataError, match="no token below 5"):
        read_records(tmp_path / "a.npz", tokens)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY"])
def test_bytes_that_are_no_archive_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match="no npz file"):
        read_records(tmp_path / "a.npz", NAMED)


@settings(max_examples=60)
@given(
    content=st.one_of(
        st.binary(max_size=80), st.text(max_size=80).map(lambda text: text.encode("utf-8", "ignore"))
    )
)
@pytest.mark.parametrize("suffix", [".csv", ".npz"])
def test_any_bytes_are_records_or_an_error_of_ours(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes(content)
    try:
        inputs = read_records(path, NAMED).inputs
    except DataError:
        return
    assert inputs.shape[1:] == (2,)
    assert np.isfinite(inputs).all()


def test_wrong_columns_are_one_line_and_an_exit_code(
    table_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = as_csv(tmp_path / "t.csv", "age,dose\n1,2\n")
    assert main(["predict", str(table_run), str(file)]) == DataError.exit_code
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert "lacks 'mean radius'" in printed
    assert "25 more" in printed
