"""Flower's SuperNode and SuperLink, waiting less and starting less.

Flower 1.41 has no options for it: a SuperNode sleeps 3 s when nothing has arrived and 0.5 s between looks
for a reply, and both start an interpreter per message or run. This adapter shortens the sleeps
(``--fast-poll``) and keeps a warm SuperExec (``--warm``,
:mod:`fedlearn.federation.warm_superexec`), in this process alone, for the versions that it was measured with;
with any other it says so and changes nothing.

``python -m fedlearn.federation.hurried supernode --fast-poll --warm -- ARGUMENTS OF flower-supernode``
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedlearn.federation import warm_superexec

KNOWN = ("1.41.", "1.42.")
IDLE, BETWEEN_LOOKS = 3, 0.5
"""Flower's own sleeps, in seconds: while nothing arrives, and while a reply is awaited."""

EAGER_SECONDS, EAGER_TIMES, PATIENT_SECONDS = 0.2, 50, 1.0
LOOK_SECONDS = 0.05


def main(arguments: list[str]) -> int:
    """Runs the program that the command line names."""
    parser = argparse.ArgumentParser(description="Runs a program of Flower's, waiting less.")
    parser.add_argument("program", choices=["supernode", "superlink"])
    parser.add_argument("--fast-poll", action="store_true", help="shorten the known sleeps")
    parser.add_argument("--warm", action="store_true", help="keep a warm SuperExec")
    own, rest = arguments[: arguments.index("--")], arguments[arguments.index("--") + 1 :]
    options = parser.parse_args(own)
    sys.argv = [f"flower-{options.program}", *rest]
    _PROGRAMS[options.program](options)
    return 0


def program(name: str, *, fast_poll: bool = False, warm: bool = False) -> list[str]:
    """Returns the beginning of the command line of one of Flower's programs: stock unless asked otherwise.

    Args:
      name: "supernode" or "superlink".
      fast_poll: shorten the known sleeps.
      warm: keep a warm SuperExec.
    """
    wanted = [option for option, on in (("--fast-poll", fast_poll), ("--warm", warm)) if on]
    if not wanted:
        return [str(Path(sys.executable).with_name(f"flower-{name}"))]
    return [sys.executable, "-m", "fedlearn.federation.hurried", name, *wanted, "--"]


def _supernode(options: argparse.Namespace) -> None:
    from flwr.supernode import start_client_internal
    from flwr.supernode.cli import flower_supernode

    hurry(start_client_internal, options, modules=warm_superexec.RELAY)
    flower_supernode()


def _superlink(options: argparse.Namespace) -> None:
    from flwr.superlink.cli import flower_superlink

    hurry(sys.modules["flwr.superlink.cli.flower_superlink"], options, modules=warm_superexec.CONDUCT)
    flower_superlink()


_PROGRAMS: dict[str, Callable[[argparse.Namespace], None]] = {
    "supernode": _supernode,
    "superlink": _superlink,
}


def hurry(module: Any, options: argparse.Namespace, *, modules: tuple[str, ...]) -> None:
    """Gives a module of Flower's other sleeps and another SuperExec, if its version is known."""
    import flwr

    version = str(flwr.__version__)
    if not version.startswith(KNOWN):
        sys.stderr.write(
            f"nothing is known of Flower {version}: it polls and starts programs as it always does\n"
        )
        return
    if options.fast_poll:
        module.time = hurried()
    if options.warm:
        module.subprocess = warm_superexec.in_place_of(module.subprocess, modules=modules)


def hurried() -> types.SimpleNamespace:
    """Returns a stand-in for the time module whose known sleeps are shorter.

    While nothing arrives, the first 50 sleeps are of 0.2 s and the next of 1 s, until something has
    arrived: a request costs both ends some 10 ms of a processor.
    """
    idle = itertools.count()

    def sleep(seconds: float) -> None:
        nonlocal idle
        if seconds == IDLE:
            time.sleep(EAGER_SECONDS if next(idle) < EAGER_TIMES else PATIENT_SECONDS)
        elif seconds == BETWEEN_LOOKS:
            idle = itertools.count()
            time.sleep(LOOK_SECONDS)
        else:
            time.sleep(seconds)

    return types.SimpleNamespace(**{**vars(time), "sleep": sleep})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
