"""``fedlearn server run``: keeps the SuperLink up and carries out one run after another."""

from __future__ import annotations

import contextlib
import logging
import signal
import subprocess
import threading
import time
from pathlib import Path
from types import FrameType

from fedlearn.config import ExperimentConfig
from fedlearn.errors import FedLearnError, RunError, RunInterrupted
from fedlearn.federation import failure
from fedlearn.federation.bundle import CLIENT_APP, write_bundle
from fedlearn.federation.rotated_log import RotatedLog
from fedlearn.federation.server import queue, superlink
from fedlearn.federation.server.config import ServerConfig
from fedlearn.federation.site.identity import read_roster
from fedlearn.federation.site.supervision import start_under_leash

SERVER_APP = "fedlearn.federation.server.app:app"
LOOK_SECONDS = 0.5
MAX_ATTEMPTS = 20
GRACE_SECONDS = 60.0
"""How long Flower's run may take to end once ours has: sites are told, the ServerApp's process exits."""


_log = logging.getLogger("fedlearn.server")


class Daemon:
    """Runs what is queued, oldest first, until it is told to stop.

    A run that was cut off, with this process or with the SuperLink, is taken up again.

    Args:
      config: the server.
      file: its ``server.toml``.
    """

    def __init__(self, config: ServerConfig, *, file: Path) -> None:
        self._config = config
        self._file = file.absolute()
        self._stopping = threading.Event()
        self._superlink: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        """Serves until SIGTERM or SIGINT; the run that is going on is kept for the next start.

        Raises:
          FedLearnError: the SuperLink cannot be started, or roster and keys do not fit.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self._config.runs.mkdir(mode=0o700, parents=True, exist_ok=True)
        superlink.write_connection(self._config)
        try:
            while not self._stopping.is_set():
                self._keep_superlink()
                run = queue.next_run(self._config.runs)
                if run is None:
                    self._stopping.wait(LOOK_SECONDS)
                else:
                    self._carry_out(self._config.runs / run)
        finally:
            self._end_superlink()

    def _keep_superlink(self) -> None:
        if self._superlink is not None and self._superlink.poll() is None:
            return
        if self._superlink is not None:
            _log.error("the SuperLink ended with code %s and is started again", self._superlink.returncode)
        config = self._config
        roster = read_roster(config.path(config.roster), consortium=bytes.fromhex(config.consortium))
        log = config.path(config.state) / "superlink.log"
        with RotatedLog(log).output as output:
            self._superlink = start_under_leash(
                superlink.command(config), environment=superlink.environment(config), output=output
            )
        superlink.await_ready(config, alive=self._superlink_lives)
        superlink.register(config, roster.members)
        _log.info("server ready on port %d, roster version %d", config.port, roster.version)

    def _superlink_lives(self) -> bool:
        return self._superlink is not None and self._superlink.poll() is None

    def _end_superlink(self) -> None:
        if self._superlink is None:
            return
        if self._superlink.stdin is not None:
            self._superlink.stdin.close()
        self._superlink.wait()

    def _carry_out(self, path: Path) -> None:
        attempt = queue.read(path).attempt + 1
        status = queue.update(path, attempt=attempt)
        (path / failure.FAILURE).unlink(missing_ok=True)
        _log.info("run %s begins, attempt %d", path.name, attempt)
        try:
            if attempt > MAX_ATTEMPTS:
                raise RunError(f"the run was taken up {MAX_ATTEMPTS} times and cut off each time")
            if (path / queue.STOP).exists():
                raise RunInterrupted("stopped before it began")
            self._run_app(path, resume=status.attempt > 1)
            self._conclude(path)
        except RunInterrupted as error:
            queue.update(path, state="stopped", reason=str(error))
        except FedLearnError as error:
            failure.write(path, error)
            queue.update(path, state="failed", reason=str(error)[:4000])
        _log.info("run %s: %s", path.name, queue.read(path).state)

    def _conclude(self, path: Path) -> None:
        """Reads how the run ended: Flower's own exit code is 0 either way."""
        error = failure.read(path)
        if error is not None:
            raise error
        if (path / "result.json").is_file():
            queue.update(path, state="finished", reason="", missing=())
        elif not self._stopping.is_set():
            _log.error("run %s was cut off; it is taken up again", path.name)

    def _run_app(self, path: Path, *, resume: bool) -> None:
        """Runs the ServerApp by ``flwr run`` until it ends, or this server stops."""
        config = ExperimentConfig.from_toml(path / "experiment.toml")
        bundle = write_bundle(
            path / "app",
            experiment_toml=config.to_toml(),
            run_dir=path,
            resume=resume,
            server_app=SERVER_APP,
            client_app=CLIENT_APP,
            more={"server": str(self._file)},
        )
        command = [superlink.FLWR, "run", str(bundle), superlink.CONNECTION, "--stream"]
        with (path / "flwr.log").open("ab") as output:
            process = start_under_leash(
                command, environment=superlink.environment(self._config), output=output
            )
        over: float | None = None
        while process.poll() is None and not self._stopping.is_set() and self._superlink_lives():
            time.sleep(0.2)
            if (path / failure.FAILURE).exists() or (path / "result.json").exists():
                over = over or time.monotonic() + GRACE_SECONDS
            if over is not None and time.monotonic() > over:
                break
        with contextlib.suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()
        process.wait()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping.set()
