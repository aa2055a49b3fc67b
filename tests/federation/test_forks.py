"""Programs as forks: exit codes, signals, outputs, environment; and Flower's SuperExec that starts them."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fedlearn.federation import hurried, warm_superexec
from fedlearn.federation.forks import FAILED, fork, fork_command
from fedlearn.federation.warm_superexec import Launcher


def ends(code: object) -> None:
    sys.exit(code)  # type: ignore[arg-type]


def raises() -> None:
    raise ValueError("a fork")


@pytest.mark.parametrize(
    ("program", "code"),
    [
        (lambda: None, 0),
        (lambda: 3, 3),
        (lambda: ends(None), 0),
        (lambda: ends(4), 4),
        (lambda: ends("a last word"), 1),
        (raises, FAILED),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), -signal.SIGKILL),
    ],
)
def test_the_result_of_a_fork_is_its_exit_code(program: Callable[[], object], code: int) -> None:
    forked = fork(program)
    assert forked.wait(60.0) == code
    assert (forked.poll(), forked.returncode) == (code, code)
    forked.kill()  # harmless: its id may be another's by now


def test_a_fork_ends_by_signals_whatever_its_parent_does_with_them() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        forked = fork(signal.pause)
        with pytest.raises(subprocess.TimeoutExpired):
            forked.wait(0.0)
        assert forked.poll() is None
        forked.send_signal(signal.SIGTERM)
        assert forked.wait(60.0) == -signal.SIGTERM
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_fork_has_a_session_and_an_output_of_its_own(tmp_path: Path) -> None:
    def program() -> None:
        os.write(1, str(os.getsid(0) == os.getpid()).encode())

    with (tmp_path / "out").open("wb") as output:
        assert fork(program, output=output).wait(60.0) == 0
    assert (tmp_path / "out").read_text() == "True"


def test_a_command_runs_with_its_arguments_and_environment_alone(tmp_path: Path) -> None:
    script = tmp_path / "say_what_is_there.py"
    body = "os.write(1, str((arguments, sys.argv, dict(os.environ))).encode())"
    script.write_text(f"import os, sys\n\ndef main(arguments):\n    {body}\n")
    sys.path.insert(0, str(tmp_path))
    command = [sys.executable, "-m", "say_what_is_there", "a", "b"]
    try:
        with (tmp_path / "out").open("wb") as output:
            assert fork_command(command, environment={"ONLY": "this"}, output=output).wait(60.0) == 0
    finally:
        sys.path.remove(str(tmp_path))
    said = "(['a', 'b'], ['say_what_is_there', 'a', 'b'], {'ONLY': 'this'})"
    assert (tmp_path / "out").read_text() == said
    assert "ONLY" not in os.environ


def test_an_installed_script_is_found_by_its_name() -> None:
    assert fork_command(["/any/where/fedlearn", "--version"], environment=os.environ).wait(60.0) == 0
    assert fork_command(["fedlearn", "no-such-command"], environment=os.environ).wait(60.0) == 2
    assert fork_command(["no-such-script"], environment=os.environ).wait(60.0) == FAILED


def test_the_launcher_forks_what_flower_would_start(tmp_path: Path) -> None:
    launcher = Launcher()
    marks = [tmp_path / "a", tmp_path / "b"]
    for mark in marks:
        command = [sys.executable, "-m", "tests.federation.mark", str(mark)]
        assert launcher.Popen(command, stdout=subprocess.DEVNULL).wait(60.0) == 0
    assert all(mark.is_file() for mark in marks)


def test_a_fork_forgets_how_the_superexec_ends() -> None:
    from flwr.supercore.exit import exit_handler

    def program() -> int:
        return len(exit_handler.registered_exit_handlers)

    exit_handler.add_exit_handler(lambda: None)
    try:
        with warm_superexec.without_exit_handlers():
            forked = fork(program)
        assert forked.wait(60.0) == 0
        assert exit_handler.registered_exit_handlers
    finally:
        exit_handler.registered_exit_handlers.clear()


def test_a_warm_superexec_takes_the_place_of_the_stock_one_and_of_nothing_else() -> None:
    started: list[tuple[list[str], dict[str, Any]]] = []
    stock = SimpleNamespace(Popen=lambda words, **options: started.append((words, options)), DEVNULL=-3)
    replaced = warm_superexec.in_place_of(stock, modules=("flwr.clientapp",))
    replaced.Popen(["flower-superexec", "--insecure"], start_new_session=True)
    replaced.Popen(["other"])
    (warm, options), (other, _) = started
    assert warm[:3] == [sys.executable, "-m", "fedlearn.federation.warm_superexec"]
    assert warm[3:] == ["--preload", "flwr.clientapp", "--", "--insecure"]
    assert options == {"start_new_session": True}
    assert other == ["other"]
    assert replaced.DEVNULL == -3


def test_stock_programs_run_unless_something_is_asked_for() -> None:
    assert Path(hurried.program("superlink")[0]).name == "flower-superlink"
    assert hurried.program("supernode", fast_poll=True)[3:] == ["supernode", "--fast-poll", "--"]
    assert hurried.program("superlink", warm=True)[3:] == ["superlink", "--warm", "--"]


@pytest.mark.parametrize("module", [*warm_superexec.RELAY, *warm_superexec.CONDUCT])
def test_what_is_preloaded_is_there(module: str) -> None:
    __import__(module)


def test_flower_has_what_the_adapter_replaces() -> None:
    """Fails with a Flower whose programs are built otherwise: the adapter's versions end before it."""
    from flwr.supercore.superexec.executor import subprocess_executor
    from flwr.supernode import start_client_internal

    superlink = importlib.import_module("flwr.superlink.cli.flower_superlink")
    for module in (start_client_internal, superlink, subprocess_executor):
        assert module.subprocess is subprocess
    assert start_client_internal.time.sleep is time.sleep


def test_an_unknown_flower_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("flwr.__version__", "9.0.0")
    module, options = SimpleNamespace(time=1, subprocess=2), Namespace(fast_poll=True, warm=True)
    hurried.hurry(module, options, modules=())
    assert (module.time, module.subprocess) == (1, 2)
    assert "9.0.0" in capsys.readouterr().err
