"""The resident processes of a simulated federation: started, waited for, and always ended."""

from __future__ import annotations

import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Self

from fedlearn.errors import RunError
from fedlearn.federation import assignment
from fedlearn.federation.assignment import Assignment
from fedlearn.federation.environment import host_environment
from fedlearn.federation.host import DEFAULT_SETTLE, READY

READY_SECONDS = 300.0
GRACE_SECONDS = 5.0


def cores() -> int:
    """Returns the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


class HostPool:
    """As many hosts as cores, each with its share of the clients; a context manager.

    Sockets lie in a fresh directory that only this user can enter. A host ends when the pool is
    left, and also when this process dies, because its standard input is a pipe from here.

    Args:
      whole: the assignment of all clients.
      logs: folder for ``host-0.log``, …; created if missing.
      hosts: number of processes; by default one per core, and no more than clients.
      settle: ``"package.module:function"`` that makes the clients of an assignment.
      ready_seconds: how long the hosts may take to load their data.
    """

    def __init__(
        self,
        whole: Assignment,
        *,
        logs: Path,
        hosts: int | None = None,
        settle: str = DEFAULT_SETTLE,
        ready_seconds: float = READY_SECONDS,
    ) -> None:
        self._parts = whole.deal(max(1, min(hosts or cores(), len(whole.keys))))
        self._logs = logs
        self._settle = settle
        self._ready_seconds = ready_seconds
        self._processes: list[subprocess.Popen[bytes]] = []
        self._folder = ""

    @property
    def addresses(self) -> Mapping[str, str]:
        """Client id → path of the socket of its host."""
        return {name: self._socket(host) for host, part in enumerate(self._parts) for name in part.keys}

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the hosts."""
        return tuple(process.pid for process in self._processes)

    def __enter__(self) -> Self:
        """Starts all hosts and waits until they listen.

        Raises:
          RunError: a host ended or was not ready in time; names its log and quotes the last line.
        """
        self._folder = tempfile.mkdtemp(prefix="fedlearn-")
        try:
            self._logs.mkdir(parents=True, exist_ok=True)
            for host, part in enumerate(self._parts):
                self._start(host, part)
            self._await_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends and reaps all hosts and removes their sockets; harmless when repeated."""
        for process in self._processes:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()
        for process in self._processes:
            try:
                process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, host: int, part: Assignment) -> None:
        command = [
            sys.executable,
            "-m",
            "fedlearn.federation.host",
            self._socket(host),
            "--settle",
            self._settle,
        ]
        with self._log(host).open("wb") as log:
            process = subprocess.Popen(  # noqa: S603  # our own module, by full path
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=host_environment()
            )
        self._processes.append(process)
        with suppress(BrokenPipeError):  # a host that died already is reported by _await_ready
            assignment.write(_pipe(process.stdin), part)

    def _await_ready(self) -> None:
        end = time.monotonic() + self._ready_seconds
        with selectors.DefaultSelector() as selector:
            for host, process in enumerate(self._processes):
                selector.register(_pipe(process.stdout), selectors.EVENT_READ, host)
            while selector.get_map():
                events = selector.select(max(0.0, end - time.monotonic()))
                if not events:
                    raise RunError(
                        f"resident processes were not ready after {self._ready_seconds:g} s;"
                        f" see {self._logs}/host-*.log"
                    )
                for key, _ in events:
                    self._check_ready(int(key.data))
                    selector.unregister(key.fileobj)

    def _check_ready(self, host: int) -> None:
        process = self._processes[host]
        if os.read(_pipe(process.stdout).fileno(), len(READY)) != READY:
            code = process.wait()
            raise RunError(
                f"resident process {host} ended with exit code {code} before it was ready:"
                f" {_last_line(self._log(host))}; see {self._log(host)}"
            )

    def _socket(self, host: int) -> str:
        return f"{self._folder}/{host}.sock"

    def _log(self, host: int) -> Path:
        return self._logs / f"host-{host}.log"


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise RunError("a resident process was started without its pipes")
    return pipe


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "(its log is empty)")
