"""A federation of real processes over TLS on loopback, or one network namespace per machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlearn.config import ExperimentConfig
from fedlearn.federation.leash import descendants
from fedlearn.federation.local import LocalFederation, end
from fedlearn.federation.server import queue
from fedlearn.federation.site import standing
from fedlearn.privacy.account import Account
from fedlearn.privacy.chain import check_chain
from fedlearn.privacy.release import latest, read, spent
from fedlearn.rounds.checkpoint import Checkpoint

PATIENCE = float(os.environ.get("FEDLEARN_PATIENCE", "300"))
"""Seconds after which a test gives up on something that should have happened: a loaded machine is slow."""


def until(found: Callable[[], Any], what: str) -> Any:
    """Returns the first true value of ``found``."""
    deadline = time.monotonic() + PATIENCE
    while not (value := found()):
        assert time.monotonic() < deadline, f"{what} did not happen within {PATIENCE:g} s"
        time.sleep(0.1)
    return value


class Nursery:
    """The process that sites are forked from.

    Args:
      folder: for its log.
    """

    def __init__(self, folder: Path) -> None:
        with (folder / "nursery.txt").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.deployment.nursery"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def start(self, file: Path) -> int:
        """Returns the process id of the site that was started."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{file}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """Ends all its sites."""
        self._process.communicate()


@dataclass(frozen=True, kw_only=True)
class Sibling:
    """A site that the nursery has started; not this process' child."""

    pid: int
    stdin: None = None

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self) -> None:
        until(lambda: not Path(f"/proc/{self.pid}").exists(), f"the end of process {self.pid}")


class Machines:
    """A federation that is running; its parts can be killed and started again.

    Args:
      federation: the kits.
    """

    def __init__(self, federation: LocalFederation) -> None:
        self.federation = federation
        self.processes: dict[str, Any] = {}

    @property
    def sites(self) -> list[str]:
        return list(self.federation.kits.config.sites)

    @property
    def runs(self) -> Path:
        return self.federation.kits.server / "state" / "runs"

    def start(self, *names: str) -> None:
        for name in names or ("server", *self.sites):
            # of an earlier start, which await_connected would take for this one's
            (self.folder(name) / "state" / "supernode.log").unlink(missing_ok=True)
            self.processes[name] = self._start(name)

    def _start(self, name: str) -> Any:
        if name == "server":
            return self.federation.start_server()
        if not self.federation.warm:
            return self.federation.start_site(name)
        return Sibling(pid=self._nursery.start(self.federation.site_file(name)))

    @cached_property
    def _nursery(self) -> Nursery:
        return Nursery(self.federation.kits.folder)

    def pids(self, name: str) -> list[int]:
        """Returns the ids of all processes of a machine."""
        root = self.processes[name].pid
        return [root, *descendants(root)]

    def kill(self, name: str) -> None:
        """Kills a machine with everything on it, as a power cut: SIGKILL to all its processes at once."""
        for pid in self.pids(name):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process = self.processes.pop(name)
        process.wait()
        if process.stdin is not None:
            process.stdin.close()

    def end(self, name: str) -> None:
        """Ends a machine in good order."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        process.wait()
        if process.stdin is not None:
            process.stdin.close()

    def stop(self) -> None:
        """Ends all machines; harmless when repeated."""
        siblings = [one for one in self.processes.values() if isinstance(one, Sibling)]
        end([one for one in self.processes.values() if one not in siblings][::-1])
        self.processes.clear()
        if "_nursery" in vars(self):
            self._nursery.close()
            del self._nursery

    def folder(self, name: str) -> Path:
        """Returns the folder of a machine's kit."""
        return self.federation.kits.server if name == "server" else self.federation.kits.site(name)

    def submit(self, config: ExperimentConfig | None = None) -> Path:
        return self.runs / queue.submit(self.runs, config or self.federation.config)

    def state(self, run: Path) -> str:
        return queue.read(run).state

    def await_over(self, run: Path) -> queue.Status:
        until(lambda: self.state(run) not in queue.OPEN, f"the end of {run.name}")
        return queue.read(run)

    def rounds(self, run: Path) -> list[dict[str, Any]]:
        file = run / "rounds.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def await_round(self, run: Path, count: int) -> dict[str, Any]:
        def there() -> bool:
            return len(self.rounds(run)) >= count or self.state(run) not in queue.OPEN

        until(there, f"round {count} of {run.name}")
        return self.rounds(run)[count - 1]

    def log(self, site: str) -> list[dict[str, Any]]:
        """Returns the events in a site's log."""
        file = self.federation.kits.site(site) / "log.txt"
        lines = file.read_text().splitlines() if file.exists() else []
        return [json.loads(line) for line in lines if line.startswith('{"time"')]

    def await_event(self, site: str, event: str, *, after: int = 0, **fields: Any) -> dict[str, Any]:
        """Returns the first such event in a site's log, the first ``after`` lines left out."""

        def found() -> dict[str, Any] | None:
            for line in self.log(site)[after:]:
                if line["event"] == event and all(line.get(key) == value for key, value in fields.items()):
                    return line
            return None

        line: dict[str, Any] = until(found, f"{event} {fields} at {site}")
        return line

    def await_connected(self, *sites: str) -> None:
        """Returns once agents answer and their SuperNodes are let in, at all sites if none is named."""
        for site in sites or self.sites:
            until(lambda: self.is_connected(site), f"the readiness of {site}")  # noqa: B023

    def is_connected(self, site: str) -> bool:
        state = self.folder(site) / "state"
        log = state / "supernode.log"
        said = log.read_text(errors="replace") if log.exists() else ""
        return standing.ready(state) and "SuperNode ID" in said

    def account(self, site: str) -> Account:
        """Returns what a site's records have spent by its ledger, whose chain is checked."""
        rows = read(self.federation.kits.site(site) / "state" / "ledger.sqlite")
        check_chain(rows)
        return spent(latest(rows).values(), "records")


def model_of(run: Path) -> NDArray[np.float32]:
    """Returns the global vector of a run's last checkpoint."""
    arrays = Checkpoint.load(run / "checkpoint" / "state.safetensors").arrays
    params: NDArray[np.float32] = arrays["params"]
    return params


@contextmanager
def running(
    config: ExperimentConfig, folder: Path, *, sites: int = 5, begun: bool = True, **arguments: Any
) -> Iterator[Machines]:
    """Yields a federation whose server and sites have been started, unless ``begun`` is False."""
    names = [f"client-{number}" for number in range(sites)]
    arguments = {"fast_poll": True, "warm": True, **arguments}
    machines = Machines(LocalFederation.create(config, folder, sites=names, **arguments))
    try:
        if begun:
            machines.start()
            machines.await_connected()
        yield machines
    finally:
        machines.stop()
