"""The leash ends what a command started, however it detached."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedlearn.federation.leash import descendants

LEASH = [sys.executable, "-m", "fedlearn.federation.leash", "--grace", "1"]
DETACHED = "setsid sleep 1000 >/dev/null 2>&1 & echo $!"


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


@pytest.fixture
def lifeline() -> Iterator[subprocess.Popen[str]]:
    """A leash whose command starts a detached sleeper, then waits for ever."""
    process = subprocess.Popen(
        [*LEASH, "--lifeline", "sh", "-c", f"{DETACHED}; exec sleep 1000"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process
        process.kill()


def sleeper_of(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


def test_a_detached_process_ends_with_the_command() -> None:
    done = subprocess.run([*LEASH, "sh", "-c", DETACHED], capture_output=True, text=True, check=True)
    assert not is_running(int(done.stdout))


@pytest.mark.parametrize("code", [0, 3])
def test_exit_code_is_the_commands(code: int) -> None:
    assert subprocess.run([*LEASH, "sh", "-c", f"exit {code}"], check=False).returncode == code


def test_a_command_that_is_not_there_is_127() -> None:
    done = subprocess.run([*LEASH, "/no/such/command"], capture_output=True, text=True, check=False)
    assert done.returncode == 127
    assert "/no/such/command" in done.stderr


def test_everything_ends_when_the_lifeline_closes(lifeline: subprocess.Popen[str]) -> None:
    sleeper = sleeper_of(lifeline)
    assert lifeline.stdin is not None
    lifeline.stdin.close()
    assert lifeline.wait(30) == 130
    assert not is_running(sleeper)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_everything_ends_on_a_signal(lifeline: subprocess.Popen[str], number: signal.Signals) -> None:
    sleeper = sleeper_of(lifeline)
    lifeline.send_signal(number)
    assert lifeline.wait(30) == 130
    assert not is_running(sleeper)


def test_a_process_deaf_to_sigterm_is_killed() -> None:
    command = [
        sys.executable,
        "-c",
        "import os, signal; signal.signal(15, signal.SIG_IGN); print(os.getpid(), flush=True); "
        "signal.pause()",
    ]
    process = subprocess.Popen([*LEASH, *command], stdout=subprocess.PIPE, text=True)
    with process:
        pid = sleeper_of(process)
        process.terminate()
        assert process.wait(30) == 130
    assert not is_running(pid)


def test_the_folder_of_a_launcher_that_died_is_removed(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    leash = [*LEASH, "--lifeline", "--remove", str(tmp_path / "scratch")]
    script = (
        "import os, subprocess, signal;"
        f"leash = [*{leash!r}, '--launcher', str(os.getpid()), 'sleep', '1000'];"
        "p = subprocess.Popen(leash, stdin=subprocess.PIPE); print(p.pid, flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as launcher:
        process = os.pidfd_open(sleeper_of(launcher))
        launcher.kill()
    assert select.select([process], [], [], 30)[0], "the leash did not end"
    os.close(process)
    assert not (tmp_path / "scratch").exists()


def test_the_folder_of_a_launcher_that_lives_is_its_own(tmp_path: Path) -> None:
    subprocess.run([*LEASH, "--launcher", str(os.getpid()), "--remove", str(tmp_path), "true"], check=True)
    assert tmp_path.exists()


def test_descendants_are_found_at_any_depth() -> None:
    with subprocess.Popen(
        ["sh", "-c", "sh -c 'echo $$; exec sleep 1000' & wait"], stdout=subprocess.PIPE, text=True
    ) as process:
        grandchild = sleeper_of(process)
        assert {process.pid, grandchild} <= descendants(os.getpid())
        os.kill(grandchild, signal.SIGKILL)
