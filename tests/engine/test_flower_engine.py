"""Real simulations on Flower and Ray: the same model as in one process, and nothing left running."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from fedlearn.errors import RunError
from fedlearn.experiment import Experiment
from fedlearn.federation.launch import run_flower
from fedlearn.runs.result import Result
from fedlearn.simulation import simulate
from tests.engine.flower_runs import MASKED, PLAIN, Rounds, assert_same_model, left_running

pytestmark = pytest.mark.engine

ROOT = Path(__file__).parents[2]

REMEDIED = (
    PLAIN.replace("plain", "remedied").replace("logistic", "mlp")
    + """
[remedies]
augmentation = [{ name = "noise" }]
views = 2
label_smoothing = 0.1
penalties = [{ name = "l2", arguments = { strength = 0.01 } }]
pretraining = { rounds = 2 }
synthesis = { rounds = 2, unprotected = true }
"""
)

STATEFUL = PLAIN.replace("plain", "stateful").replace("logistic", "mlp") + '[algorithm]\nname = "scaffold"\n'
LAYERED = PLAIN.replace("plain", "layered").replace(
    'name = "logistic"', 'name = "mlp"\nlocal_layers = ["head.*"]'
)


@pytest.mark.parametrize("text", [PLAIN, MASKED, REMEDIED], ids=["plain", "masked", "remedied"])
def test_both_engines_give_the_same_model(tmp_path: Path, text: str) -> None:
    experiment = Experiment.from_toml_text(text)
    rounds = Rounds()
    run_flower(experiment, tmp_path / "flower", progress=rounds)
    simulate(experiment, out=tmp_path / "inprocess")
    assert_same_model(tmp_path / "flower", tmp_path / "inprocess")
    result = Result.load(tmp_path / "flower")
    assert (result.engine, result.rounds) == ("flower", 3)
    assert [(report.round, report.survivors, report.failure) for report in rounds.reports] == [
        (1, 5, None),
        (2, 5, None),
        (3, 5, None),
    ]
    assert [report.trips for report in rounds.reports] == ([5, 3, 3] if text is MASKED else [1, 1, 1])
    assert left_running() == []


@pytest.mark.parametrize("text", [STATEFUL, LAYERED], ids=["scaffold", "own layers"])
def test_what_stays_at_a_client_is_the_same_on_both_engines(tmp_path: Path, text: str) -> None:
    """SCAFFOLD's variates and layers of a client's own go from round to round below the run directory."""
    experiment = Experiment.from_toml_text(text)
    run_flower(experiment, tmp_path / "flower", progress=Rounds())
    simulate(experiment, out=tmp_path / "inprocess")
    assert_same_model(tmp_path / "flower", tmp_path / "inprocess")
    for ran in ("flower", "inprocess"):
        assert kept_files(tmp_path / ran)
    assert kept_files(tmp_path / "flower") == kept_files(tmp_path / "inprocess")


def kept_files(run: Path) -> list[str]:
    """Returns the names of what the clients of a run keep."""
    folder = run / "checkpoint" / "clients"
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_an_error_in_a_client_arrives_at_the_launcher(tmp_path: Path) -> None:
    text = PLAIN.replace("local_steps", 'loss = "tests.engine.failing_loss:unreadable"\nlocal_steps')
    with pytest.raises(RunError, match=r"client 'client-\d+': DataError: this record is unreadable"):
        run_flower(Experiment.from_toml_text(text), tmp_path / "run")
    failure = json.loads((tmp_path / "run" / "failure.json").read_text())
    assert (failure["error"], failure["exit_code"]) == ("RunError", 7)
    assert left_running() == []


def test_a_killed_launcher_leaves_nothing_running_and_the_run_resumes(tmp_path: Path) -> None:
    long = PLAIN.replace("rounds = 3", "rounds = 150")
    script = (
        "import sys; from pathlib import Path; from fedlearn.experiment import Experiment;"
        "from fedlearn.federation.launch import run_flower; from fedlearn.runs.progress import Silent\n"
        "class Told(Silent):\n"
        "    def round_done(self, report): print(report.round, flush=True)\n"
        "run_flower(Experiment.from_toml_text(sys.argv[1]), Path(sys.argv[2]), progress=Told())"
    )
    command = [sys.executable, "-c", script, long, str(tmp_path / "run")]
    scratch = Path(tempfile.mkdtemp(prefix="short-"))  # pytest's own folders are too long for Ray's sockets
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | {"TMPDIR": str(scratch)}
    ) as launcher:
        assert launcher.stdout is not None
        assert launcher.stdout.readline().strip() == "1"
        leash = _only_child(launcher.pid)
        gone = os.pidfd_open(leash)
        launcher.send_signal(signal.SIGKILL)
    _await(gone)
    assert left_running() == []
    scratch.rmdir()  # and so it was empty
    kept = len((tmp_path / "run" / "rounds.jsonl").read_text().splitlines())
    assert 0 < kept < 150
    rounds = Rounds()
    run_flower(Experiment.from_toml_text(long), tmp_path / "run", resume=True, progress=rounds)
    assert [report.round for report in rounds.reports] == list(range(kept + 1, 151))
    assert Result.load(tmp_path / "run").rounds == 150


def _only_child(pid: int) -> int:
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def _await(process: int) -> None:
    try:
        assert select.select([process], [], [], 60)[0], "the leash did not end"
    finally:
        os.close(process)
