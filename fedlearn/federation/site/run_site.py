"""A site as one command: agent and link, each kept running, both ended together."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from fedlearn.federation.environment import party_environment
from fedlearn.federation.site import link, standing
from fedlearn.federation.site.config import SiteConfig
from fedlearn.federation.site.journal import told
from fedlearn.federation.site.supervision import Process, Start, Supervisor, start_under_leash


def run_link(config: SiteConfig) -> None:
    """Keeps the SuperNode running until SIGTERM or SIGINT."""
    _until_told([_link(config, start_under_leash)])


def run_site(config: SiteConfig, *, file: Path, start: Start = start_under_leash) -> None:
    """Keeps agent and SuperNode running, as this user, until SIGTERM or SIGINT.

    Args:
      config: the site.
      file: its ``site.toml``.
      start: how the two programs are started.
    """
    if config.link.user is None:
        told("agent and link run as one user", reason="for trying; in production give each its own user")
    _until_told([_agent(config, file, start), _link(config, start)])


def _link(config: SiteConfig, start: Start) -> Supervisor:
    state = config.path(config.state)
    home = state / "flwr"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = state / "supernode.log"

    def said() -> str:
        return log.read_text(encoding="utf-8", errors="replace")[-8192:]

    def begin() -> Process:
        with log.open("wb") as output:  # anew each time: it holds what Flower says, which repeats itself
            return start(link.command(config), environment=party_environment(home), output=output)

    def server_answers() -> bool:
        host, _, port = config.link.superlink.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5.0).close()
        except OSError:
            return False
        return True

    changed = _writer(state, standing.LINK)
    return Supervisor("supernode", begin, changed=changed, said=said, ready=server_answers)


def _agent(config: SiteConfig, file: Path, start: Start) -> Supervisor:
    command = [sys.executable, "-m", "fedlearn.cli.main", "site", "run", "--part", "agent"]
    command += ["--config", str(file)]
    single = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(config.limits.threads))

    return Supervisor("agent", lambda: start(command, environment={**os.environ, **single}))


def _writer(state: Path, name: str) -> Callable[[str, str], None]:
    def write(condition: str, reason: str) -> None:
        standing.write(state, name, {"ready": condition == "running", "state": condition, "reason": reason})

    return write


def _until_told(supervisors: list[Supervisor]) -> None:
    """Runs all supervisors; at SIGTERM or SIGINT ends their programs, the last one first."""
    told_to_stop = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        told_to_stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    threads = [threading.Thread(target=one.run, daemon=True) for one in supervisors]
    for thread in threads:
        thread.start()
    while not told_to_stop.wait(0.5):
        if not any(thread.is_alive() for thread in threads):
            break
    for supervisor in reversed(supervisors):
        supervisor.stop()
    for thread in threads:
        thread.join(5.0)
