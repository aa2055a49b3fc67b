"""The command line: its exit codes, its one-line errors, and that nothing is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fedlearn.cli.main import COMMANDS, main
from fedlearn.runs.result import Result

EXPERIMENT = """
name = "tiny"
rounds = 2
[data]
dataset = "breast-cancer"
partition = { kind = "iid", clients = 5 }
[model]
name = "logistic"
[training]
learning_rate = 0.5
local_steps = 1
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(EXPERIMENT)
    return path


def simulate(file: Path, out: Path, *settings: str) -> int:
    extra = [part for setting in settings for part in ("--set", setting)]
    return main(["simulate", str(file), "--out", str(out), "--quiet", *extra])


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        with pytest.raises(SystemExit) as end:
            main([command, "--help"])
        assert end.value.code == 0
        assert COMMANDS[command] in " ".join(capsys.readouterr().out.split())


def test_help_is_quick_because_it_loads_nothing() -> None:
    code = "import sys; from fedlearn.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "print([m for m in ('torch', 'flwr', 'numpy', 'pydantic') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip().endswith("[]")


def test_simulate_writes_a_run_and_prints_its_table(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", str(file), "--out", str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    assert "accuracy" in out
    assert str(tmp_path / "run") in out
    assert Result.load(tmp_path / "run").rounds == 2


def test_json_is_the_result_and_nothing_else(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", str(file), "--out", str(tmp_path / "run"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "run" / "result.json").read_text())


@pytest.mark.parametrize(
    "case",
    [
        (["training.learning_rat=1.0"], 2, "Did you mean 'learning_rate'"),
        (["training.learning_rate=-1.0"], 2, "training.learning_rate=-1.0"),
        (["rounds=0"], 2, "rounds=0"),
        (["model.name=logistik"], 2, "Did you mean 'logistic'"),
        (["model.arguments.width=3"], 2, "takes no argument 'width'"),
        (["data.dataset=breast-cancr"], 2, "Did you mean 'breast-cancer'"),
        (["aggregation.name=median", "secure_aggregation.enabled=true"], 2, "needs each client's update"),
        (["secure_aggregation.enabled=true", "data.partition.clients=3"], 2, "clients=3"),
        (["secure_aggregation.enabled=true", "secure_aggregation.fractional_bits=40"], 2, "fractional_bits"),
        (["data.partition.clients=5000"], 3, "5000"),
        (["data.dataset=fashion-mnist", "data.folder=/nowhere"], 3, "/nowhere"),
        (["privacy.enabled=true", "privacy.epsilon=3.0", "privacy.delta=0.5"], 5, "privacy.delta=0.5"),
        (["privacy.enabled=true", "privacy.epsilon=1e-9", "privacy.delta=1e-5"], 5, "epsilon"),
        (["training.learning_rate=1e38", "training.local_steps=5"], 4, "learning_rate"),
    ],
)
def test_bad_input_is_one_line_and_an_exit_code(
    file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    case: tuple[list[str], int, str],
) -> None:
    settings, code, says = case
    assert simulate(file, tmp_path / "run", *settings) == code
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert "Traceback" not in error
    assert not (tmp_path / "run" / "result.json").exists()


def test_debug_shows_the_traceback(file: Path, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="rounds=0"):
        main(["simulate", str(file), "--out", str(tmp_path / "run"), "--debug", "--set", "rounds=0"])


def test_a_folder_that_is_not_a_run_is_left_alone(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "precious.txt").write_text("keep me")
    assert simulate(file, tmp_path) == 7
    assert "choose another folder" in capsys.readouterr().err
    assert (tmp_path / "precious.txt").read_text() == "keep me"


def test_resume_without_a_checkpoint_says_so(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate(file, tmp_path / "run") == 0
    (tmp_path / "run" / "checkpoint" / "state.safetensors").unlink()
    assert main(["simulate", "--resume", str(tmp_path / "run"), "--quiet"]) == 7
    assert "no checkpoint to resume from" in capsys.readouterr().err


def test_report_writes_the_page_anew(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate(file, tmp_path / "run") == 0
    page = tmp_path / "run" / "report.html"
    page.unlink()
    assert main(["report", str(tmp_path / "run")]) == 0
    assert page.exists()
    assert main(["report", str(tmp_path)]) == 7


def test_config_lists_and_explains_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config"]) == 0
    assert "privacy.epsilon" in capsys.readouterr().out
    assert main(["config", "--explain", "privacy.epsilon"]) == 0
    assert "over all rounds" in capsys.readouterr().out
    assert main(["config", "--explain", "privacy.epsilom"]) == 2
