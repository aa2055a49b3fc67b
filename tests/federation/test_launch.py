"""The launcher, with a stand-in for ``flwr`` that does as told: Flower's exit code is 0 either way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fedlearn.errors import BudgetExhausted, ConfigError, RunDirectoryError, RunError, RunInterrupted
from fedlearn.experiment import Experiment
from fedlearn.federation import launch
from fedlearn.federation.environment import QUIET, flower_environment, free_ports
from fedlearn.runs.progress import RoundReport, Silent

TOML = """
name = "small"
rounds = 2
[data]
dataset = "breast-cancer"
partition = { kind = "quantity-skew", clients = 5 }
[model]
name = "logistic"
"""

PRELUDE = """#!{python}
import json, os, signal, subprocess, sys, tomllib
from pathlib import Path
config = tomllib.loads((Path(sys.argv[2]) / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]
run_dir = Path(config["run-dir"])
"""


@pytest.fixture
def experiment() -> Experiment:
    return Experiment.from_toml_text(TOML)


@pytest.fixture
def flwr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a script in the place of ``flwr``."""

    def _write(body: str) -> None:
        path = tmp_path / "flwr"
        path.write_text(PRELUDE.format(python=sys.executable) + body)
        path.chmod(0o755)
        monkeypatch.setattr(launch, "FLWR", str(path))

    return _write


class Witness(Silent):
    def __init__(self) -> None:
        self.seen: list[object] = []

    def begin(self, label: str, rounds: int) -> None:
        self.seen.append((label, rounds))

    def round_done(self, report: RoundReport) -> None:
        self.seen.append(report)

    def end(self) -> None:
        self.seen.append("end")


def test_a_result_is_success_and_its_rounds_are_told(
    experiment: Experiment, flwr: Callable[[str], None], tmp_path: Path
) -> None:
    rounds = [RoundReport(round=n, rounds=2, metrics={"accuracy": 0.5}, survivors=5) for n in (1, 2)]
    lines = "".join(json.dumps(entry.__dict__) + "\n" for entry in rounds)
    flwr(f"(run_dir / 'rounds.jsonl').write_text({lines!r}); (run_dir / 'result.json').write_text('')")
    witness = Witness()
    launch.run_flower(experiment, tmp_path / "run", progress=witness)
    assert witness.seen == [("small", 2), *rounds, "end"]


def test_flower_gets_the_experiment_its_nodes_and_a_quiet_environment(
    experiment: Experiment, flwr: Callable[[str], None], tmp_path: Path
) -> None:
    flwr(
        "(run_dir / 'result.json').write_text(json.dumps([sys.argv, dict(os.environ), config]));"
        "print('said by flwr')"
    )
    launch.run_flower(experiment, tmp_path / "run")
    argv, environment, config = json.loads((tmp_path / "run" / "result.json").read_text())
    assert argv[1] == "run"
    assert argv[3:] == ["local", "--stream", "--federation-config", argv[-1]]
    assert argv[-1].startswith("num-supernodes=5 client-resources-num-cpus=1 ")
    assert config["experiment-toml"] == experiment.to_toml()
    assert environment.items() >= QUIET.items()
    assert not Path(environment["FLWR_HOME"]).exists()
    assert (tmp_path / "run" / "flower" / "flwr.log").read_text() == "said by flwr\n"


def test_a_recorded_failure_is_raised_as_it_was(
    experiment: Experiment, flwr: Callable[[str], None], tmp_path: Path
) -> None:
    record = json.dumps({"error": "BudgetExhausted", "message": "over 3", "exit_code": 5})
    flwr(f"(run_dir / 'failure.json').write_text({record!r})")
    with pytest.raises(BudgetExhausted, match=r"^over 3$"):
        launch.run_flower(experiment, tmp_path / "run")


def test_no_word_at_all_is_a_run_error_that_names_the_logs(
    experiment: Experiment, flwr: Callable[[str], None], tmp_path: Path
) -> None:
    flwr("sys.exit(0)")
    with pytest.raises(RunError, match=r"without a result; see .*/run/flower/flwr.log and .*/superlink.log"):
        launch.run_flower(experiment, tmp_path / "run")


def test_an_older_result_is_not_mistaken_for_a_new_one(
    experiment: Experiment, flwr: Callable[[str], None], tmp_path: Path
) -> None:
    flwr("(run_dir / 'result.json').write_text('')")
    launch.run_flower(experiment, tmp_path / "run")
    flwr("sys.exit(0)")
    with pytest.raises(RunError):
        launch.run_flower(experiment, tmp_path / "run")


def test_a_superlink_that_detaches_is_ended(
    experiment: Experiment, flwr: Callable[[str], None], tmp_path: Path
) -> None:
    flwr(
        "daemon = subprocess.Popen(['sleep', '1000'], start_new_session=True, stdout=subprocess.DEVNULL);"
        "(run_dir / 'result.json').write_text(str(daemon.pid))"
    )
    launch.run_flower(experiment, tmp_path / "run")
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "run" / "result.json").read_text()), 0)


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Makes SIGINT raise KeyboardInterrupt, also where the tests run in a shell's background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_ends_flower_and_says_how_to_go_on(
    experiment: Experiment, flwr: Callable[[str], None], tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    flwr(f"Path({str(fifo)!r}).write_text(str(os.getpid())); signal.pause()")
    pids: list[int] = []

    def interrupt() -> None:
        pids.append(int(fifo.read_text()))
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(RunInterrupted, match=r"--resume .*/run$"):
        launch.run_flower(experiment, tmp_path / "run")
    thread.join()
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_objects_cannot_travel(tmp_path: Path) -> None:
    experiment = Experiment.from_toml_text(TOML, loss=lambda outputs, targets: outputs.sum())
    with pytest.raises(ConfigError, match=r"package\.module:Name"):
        launch.run_flower(experiment, tmp_path / "run")


def test_faults_are_not_silently_left_out(tmp_path: Path) -> None:
    experiment = Experiment.from_toml_text(TOML + "[faults]\ndropout = 0.5\n")
    with pytest.raises(ConfigError, match=r"faults\.dropout=0\.5 .* in-process engine only"):
        launch.run_flower(experiment, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_foreign_folder_is_refused_before_flower_starts(
    experiment: Experiment, flwr: Callable[[str], None], tmp_path: Path
) -> None:
    flwr("(run_dir / 'started').write_text('')")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("precious")
    with pytest.raises(RunDirectoryError, match="holds no run"):
        launch.run_flower(experiment, tmp_path / "run")
    assert [entry.name for entry in (tmp_path / "run").iterdir()] == ["thesis.tex"]


def test_ports_are_distinct() -> None:
    assert len(set(free_ports(8))) == 8


def test_children_find_this_fedlearn_from_anywhere(tmp_path: Path) -> None:
    script = "import fedlearn; print(fedlearn.__file__)"
    environment = flower_environment(tmp_path)
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    import fedlearn

    assert done.stdout.strip() == fedlearn.__file__
