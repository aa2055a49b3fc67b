"""Flower's SuperExec, with a fork per message instead of an interpreter per message.

Flower's SuperExec starts a program for each message: an interpreter that imports Flower anew, which is
most of what a trip costs. Here the SuperExec has imported what those programs need, and forks. A fork runs
the same program with the same rights, and ends with its message: nothing is kept from one to the next.

``python -m fedlearn.federation.warm_superexec --preload MODULE,MODULE -- ARGUMENTS OF flower-superexec``
"""

from __future__ import annotations

import os
import subprocess
import sys
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fedlearn.federation.forks import Forked, fork_command, preload

RELAY = ("flwr.supernode.cli", "flwr.clientapp", "fedlearn.federation.client_app")
CONDUCT = ("flwr.superlink.cli.flwr_serverapp", "flwr.serverapp", "fedlearn.federation.server.conduct")


class Launcher:
    """Stands in for ``subprocess`` in Flower's launcher of programs."""

    DEVNULL = subprocess.DEVNULL

    def __init__(self) -> None:
        self._running: list[Forked] = []

    def Popen(self, command: Sequence[str], **outputs: Any) -> Forked:  # noqa: N802  # subprocess' name
        """Forks; the outputs that Flower asks for are this process' own, or nothing."""
        self._running = [one for one in self._running if one.poll() is None]
        silent = outputs.get("stdout") == subprocess.DEVNULL
        with open(os.devnull, "wb") as nowhere, without_exit_handlers():
            started = fork_command(command, environment=os.environ, output=nowhere if silent else None)
        self._running.append(started)
        return started


@contextmanager
def without_exit_handlers() -> Iterator[None]:
    """Hides what the SuperExec does when it ends from what is forked meanwhile."""
    from flwr.supercore.exit.exit_handler import registered_exit_handlers

    own = registered_exit_handlers[:]
    registered_exit_handlers.clear()
    try:
        yield
    finally:
        registered_exit_handlers[:] = own


def main(arguments: list[str]) -> int:
    """Runs the SuperExec until it ends."""
    from flwr.supercore.cli import flower_superexec
    from flwr.supercore.superexec.executor import subprocess_executor

    option, modules, _, *rest = arguments
    if option != "--preload":
        raise SystemExit(f"{option} is not --preload")
    preload(modules.split(","))
    subprocess_executor.subprocess = Launcher()
    sys.argv = ["flower-superexec", *rest]
    flower_superexec()
    return 0


def command(arguments: Sequence[str], *, modules: Sequence[str]) -> list[str]:
    """Returns the command line that takes the place of ``flower-superexec`` with these arguments."""
    program = [sys.executable, "-m", "fedlearn.federation.warm_superexec"]
    return [*program, "--preload", ",".join(modules), "--", *arguments]


def in_place_of(stock: Any, *, modules: Sequence[str]) -> types.SimpleNamespace:
    """Returns a stand-in for the module ``subprocess`` that starts a warm SuperExec when asked for one.

    Args:
      stock: the module.
      modules: imported by the SuperExec.
    """

    def popen(words: Sequence[str], **options: Any) -> Any:
        warm = words[0] == "flower-superexec"
        return stock.Popen(command(words[1:], modules=modules) if warm else words, **options)

    return types.SimpleNamespace(**{**vars(stock), "Popen": popen})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
