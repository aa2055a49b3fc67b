"""A federation of real processes over TLS on loopback, or one network namespace per machine."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlearn.config import ExperimentConfig
from fedlearn.federation.leash import descendants
from fedlearn.federation.local import LocalFederation, end
from fedlearn.federation.server import queue
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
            server = name == "server"
            start = self.federation.start_server if server else lambda: self.federation.start_site(name)  # noqa: B023
            self.processes[name] = start()

    def kill(self, name: str) -> None:
        """Kills a machine with everything on it, as a power cut: SIGKILL to all its processes at once."""
        process = self.processes.pop(name)
        for pid in [process.pid, *descendants(process.pid)]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.wait()
        process.stdin.close()

    def stop(self) -> None:
        end(list(self.processes.values())[::-1])

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

    def await_event(self, site: str, event: str, **fields: Any) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            for line in self.log(site):
                if line["event"] == event and all(line.get(key) == value for key, value in fields.items()):
                    return line
            return None

        line: dict[str, Any] = until(found, f"{event} {fields} at {site}")
        return line

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
    config: ExperimentConfig, folder: Path, *, sites: int = 5, **arguments: Any
) -> Iterator[Machines]:
    """Yields a federation whose server and sites have been started."""
    names = [f"client-{number}" for number in range(sites)]
    arguments = {"fast_poll": True, "warm": True, **arguments}
    machines = Machines(LocalFederation.create(config, folder, sites=names, **arguments))
    try:
        machines.start()
        yield machines
    finally:
        machines.stop()
