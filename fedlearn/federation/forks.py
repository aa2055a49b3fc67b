"""Starting a Python program as a fork of this process instead of in a new interpreter.

A new interpreter imports Flower in one to two seconds, torch in two more; a fork has what this process
has imported already. It is a process of its own all the same: own memory, own signals, own exit code.

Whoever forks must be careful to hold nothing that two processes cannot share: fork before the first
tensor operation, database or listening socket.
"""

from __future__ import annotations

import importlib
import os
import select
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import IO

STANDARD_OUTPUTS = (1, 2)
FAILED = 70
"""Exit code of a fork that raised."""


class Forked:
    """A process forked from this one; what is waited for of a ``subprocess.Popen``.

    Args:
      pid: its process id; must be a child of this process.
    """

    stdin: IO[bytes] | None = None

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._lock = threading.Lock()
        self._ended = os.pidfd_open(pid)

    def __del__(self) -> None:
        os.close(self._ended)

    def poll(self) -> int | None:
        """Returns the exit code, negative for a signal; None while it runs."""
        with self._lock:
            if self.returncode is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                self.returncode = os.waitstatus_to_exitcode(status) if pid else None
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Returns the exit code once it has ended.

        Raises:
          subprocess.TimeoutExpired: it has not within ``timeout`` seconds.
        """
        watched = select.poll()
        watched.register(self._ended, select.POLLIN)
        watched.poll(None if timeout is None else timeout * 1000)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
        return code

    def send_signal(self, sig: int) -> None:
        """Sends a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        """Ends it at once."""
        self.send_signal(signal.SIGKILL)


def fork(program: Callable[[], object], *, output: IO[bytes] | None = None) -> Forked:
    """Runs a function in a fork of this process, in a session of its own; its result is the exit code.

    Args:
      program: returns an exit code, or nothing.
      output: where it writes; by default where this process does.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    # A signal that comes before the fork has its own handlers would be taken by this process' handlers.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return Forked(pid)
    code = FAILED
    try:
        _settle(output)
        code = _exit_code(program)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # neither this process' exit handlers nor its caller's frames are the child's


def fork_command(
    command: Sequence[str], *, environment: Mapping[str, str], output: IO[bytes] | None = None
) -> Forked:
    """Starts a Python program as a fork of this process.

    Args:
      command: ``[python, "-m", module, *arguments]``, where the module has a ``main(arguments)``, or an
        installed script by name or path with its arguments.
      environment: its environment.
      output: where it writes; by default where this process does.
    """
    wanted = dict(environment)

    def program() -> object:
        os.environ.clear()
        os.environ.update(wanted)
        run, sys.argv = _program(command)
        return run()

    return fork(program, output=output)


def _settle(output: IO[bytes] | None) -> None:
    """Gives a fresh fork its own session, signals and outputs."""
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if output is not None:
        for descriptor in STANDARD_OUTPUTS:
            os.dup2(output.fileno(), descriptor)


def _exit_code(program: Callable[[], object]) -> int:
    try:
        code = program()
    except SystemExit as ended:
        code = ended.code
    return code if isinstance(code, int) else int(bool(code))


def _program(command: Sequence[str]) -> tuple[Callable[[], object], list[str]]:
    """Returns what to call, and the argument vector that it is to see."""
    if list(command[:2]) == [sys.executable, "-m"]:
        main, arguments = importlib.import_module(command[2]).main, list(command[3:])
        return lambda: main(arguments), list(command[2:])
    (script,) = entry_points(group="console_scripts", name=Path(command[0]).name)
    return script.load(), list(command)


def preload(modules: Sequence[str]) -> None:
    """Imports what the forks of this process will need."""
    for module in modules:
        importlib.import_module(module)
