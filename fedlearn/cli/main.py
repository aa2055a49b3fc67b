"""``fedlearn COMMAND``: finds the command, runs it, and turns its errors into one line and an exit code."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Protocol

from fedlearn import __version__
from fedlearn.errors import FedLearnError

COMMANDS = {
    "simulate": "run an experiment in simulation and write its run directory",
    "config": "list or explain the keys of an experiment",
    "epsilon": "plan a privacy budget: noise, rounds or ε from the others",
    "budget": "show, verify or export what a site's records have spent",
    "audit": "plant canaries in an experiment and bound the ε that it really spends",
    "attack": "show what an adversary gets, without and with each protection",
    "sweep": "run an experiment over a grid of settings and several seeds",
    "scenarios": "answer the questions of a folder and write its page of answers",
    "up": "try a federation on this machine: one command, real certificates, a process per site",
    "provision": "set a federation up: certificates, signed roster, a kit for everyone",
    "site": "run, check or ask the process that holds a site's records",
    "server": "run, check or ask the server of a federation",
    "submit": "have a server run an experiment, and follow it",
    "runs": "list a server's runs",
    "stop": "end a run after the round that is going on",
    "verify": "check a run's privacy statement: signatures, chain and every ε, offline",
    "report": "write the HTML report of a finished run anew, or compare several runs",
    "evaluate": "measure a run's model on held-out or other records, with intervals",
    "predict": "use a run's model on the records of a file",
    "export": "write a run's model as ONNX or PyTorch export, with a model card",
    "explain": "say which inputs a run's model goes by",
}
"""Command → what it does; each is a module of this package with ``add_arguments`` and ``run``."""


class Command(Protocol):
    """What a command's module offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares the command's arguments."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Runs the command and returns the exit code."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code, or that of the error it ended with."""
    given = list(sys.argv[1:] if argv is None else argv)
    parser = _parser()
    if not given or given[0] not in COMMANDS:
        parser.parse_args(given or ["--help"])
        return 2
    command: Command = importlib.import_module(f"fedlearn.cli.{given[0]}")
    own = argparse.ArgumentParser(prog=f"fedlearn {given[0]}", description=COMMANDS[given[0]])
    own.add_argument("--debug", action="store_true", help="show the traceback of an error")
    command.add_arguments(own)
    return _run(command, own.parse_args(given[1:]))


def _run(command: Command, arguments: argparse.Namespace) -> int:
    try:
        return command.run(arguments)
    except FedLearnError as error:
        if arguments.debug:
            raise
        sys.stderr.write(f"fedlearn: {type(error).__name__}: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("fedlearn: interrupted\n")
        return 130
    except BrokenPipeError:
        # The reader of a pipe went away; pointing stdout elsewhere keeps the exit silent.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _parser() -> argparse.ArgumentParser:
    lines = "\n".join(f"  {name:<10} {summary}" for name, summary in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="fedlearn",
        description="Federated learning in which the ε printed is the ε spent and the server learns a sum.",
        epilog=f"commands:\n{lines}\n\nfedlearn COMMAND --help tells more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fedlearn {__version__}")
    parser.add_argument("command", metavar="COMMAND", choices=list(COMMANDS), help="one of those below")
    return parser


if __name__ == "__main__":
    sys.exit(main())
