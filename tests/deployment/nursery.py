"""Starts sites as forks of one process, whose agents stumble where a test tells them to.

``python -m tests.deployment.nursery`` reads the path of a ``site.toml`` per line and answers with the process
id of the site: what ``fedlearn site run`` is, torch and Flower imported once for all. When its input ends, so
do they.

A test tells a site's agent what is to go wrong by a file in the site's folder (:class:`Stumble`).
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal

import msgspec

from fedlearn.errors import FedLearnError
from fedlearn.federation.envelope import open_envelope
from fedlearn.federation.forks import fork, fork_command
from fedlearn.federation.leash import adopt_orphans, end_descendants
from fedlearn.federation.site import journal, siblings
from fedlearn.federation.site.config import SiteConfig
from fedlearn.federation.site.identity import Identity
from fedlearn.federation.site.run_agent import AgentProcess
from fedlearn.federation.site.run_site import run_site
from fedlearn.federation.site.supervision import Process
from fedlearn.rounds.messages import SecureRequest, TrainRequest, decode_request
from fedlearn.rounds.transport import Lost, Message

STEPS = ("advertise", "share", "inputs", "agree", "unmask")
"""Steps of a masked round, in order; all of them are trips of their own in a run's first round."""

CLOCK = "clock"
"""File with the seconds that the agent's clock is off by."""


class Stumble(msgspec.Struct, frozen=True, kw_only=True):
    """What goes wrong at a site, once.

    Attributes:
      step: of a masked round, at which it does; "train" in a round in the clear.
      round: counted from 0.
      how: the agent is killed after it has answered and before the answer leaves, or it stands still before
        it answers.
    """

    step: str
    round: int = 0
    how: Literal["killed", "stopped"] = "killed"

    def tell(self, folder: Path) -> None:
        """Tells the agent of the site in ``folder``."""
        (folder / "stumble.json").write_bytes(msgspec.json.encode(self))

    @staticmethod
    def told(folder: Path) -> Stumble | None:
        """Returns what a test has told; None if nothing."""
        try:
            return msgspec.json.decode((folder / "stumble.json").read_bytes(), type=Stumble)
        except FileNotFoundError:
            return None

    @staticmethod
    def forget(folder: Path) -> None:
        """Takes back what was told, if anything was."""
        (folder / "stumble.json").unlink(missing_ok=True)


class StumblingAgent(AgentProcess):
    """The agent, until a test wants something to go wrong."""

    def __init__(self, config: SiteConfig) -> None:
        super().__init__(config, clock=lambda: time.time() + clock_error(config.folder))
        self._folder = config.folder
        self._server = Identity.load(config).roster.server

    def _handle(self, message: Message) -> Message | Lost:
        stumble = Stumble.told(self._folder)
        now = stumble is not None and (stumble.step, stumble.round) == self._where(message)
        if stumble is not None and now:
            Stumble.forget(self._folder)
            if stumble.how == "stopped":
                # A signal to the process may be taken by another thread, and this one go on meanwhile.
                signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        answer = super()._handle(message)
        if stumble is not None and now and stumble.how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    def _where(self, message: Message) -> tuple[str, int] | None:
        """Returns step and round of a request; None for what belongs to no masked round."""
        opened = open_envelope(message, author=self._server)
        request = decode_request(opened.message.body) if opened.kind == "round" else None
        if isinstance(request, TrainRequest):
            return "train", request.round
        if not isinstance(request, SecureRequest):
            return None
        kind: str = msgspec.msgpack.decode(request.payload)[0]
        return kind.removeprefix("sa1."), request.round


def clock_error(folder: Path) -> float:
    """Returns the seconds that the clock of the site in ``folder`` is off by."""
    try:
        return float((folder / CLOCK).read_text())
    except (FileNotFoundError, ValueError):
        return 0.0


def run_agent(config: SiteConfig) -> int:
    """Runs the agent; returns the exit code that the command line would have."""
    try:
        StumblingAgent(config).run()
    except FedLearnError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return error.exit_code
    return 0


def run_stumbling(file: Path) -> None:
    """Runs a site whose agent may stumble."""
    journal.start()
    config = SiteConfig.load(file)

    def start(
        command: Sequence[str], *, environment: Mapping[str, str], output: IO[bytes] | None = None
    ) -> Process:
        if "agent" in command:
            return fork(lambda: run_agent(config), output=output)
        return fork_command(command, environment=environment, output=output)

    run_site(config, file=file, start=start)


def start(file: Path) -> int:
    """Starts a site; returns its process id."""
    with (file.parent / siblings.LOG).open("ab") as output:
        return fork(lambda: run_stumbling(file), output=output).pid


def main() -> int:
    """Starts sites until the input ends, then ends them."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody here waits for those that tests have killed
    adopt_orphans()
    warm = False
    try:
        for line in sys.stdin:
            file = Path(line.strip())
            if not warm:
                siblings.warm_up(file)
                warm = True
            sys.stdout.write(f"{start(file)}\n")
            sys.stdout.flush()
    finally:
        end_descendants(grace=20.0)
    return 0


def lock(ledger: Path) -> Any:
    """Returns a connection that keeps everybody else from writing to a ledger until it is closed."""
    connection = sqlite3.connect(ledger, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    return connection


if __name__ == "__main__":
    sys.exit(main())
