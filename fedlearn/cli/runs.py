"""``fedlearn runs``: the runs of a server, and where each stands."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import msgspec

from fedlearn.errors import RunDirectoryError
from fedlearn.federation.server import queue
from fedlearn.federation.server.config import ServerConfig
from fedlearn.runs.directory import RunDirectory


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of ``fedlearn runs``."""
    parser.add_argument("--config", type=Path, default=Path("server.toml"), help="the server's settings")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Prints one line per run, oldest first."""
    config = ServerConfig.load(arguments.config)
    found = queue.runs_in(config.runs)
    if arguments.json:
        print(json.dumps({name: msgspec.to_builtins(status) for name, status in found.items()}, indent=2))
        return 0
    for name, status in found.items():
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(status.submitted))
        print(
            f"{name:<40} {status.state:<9} {_rounds(config.runs / name):>4} rounds  {when}  {status.reason}"
        )
    if not found:
        print("no run was submitted")
    return 0


def _rounds(directory: Path) -> int:
    try:
        return len(RunDirectory(directory).rounds())
    except RunDirectoryError:  # before the first round there is no such file
        return 0
