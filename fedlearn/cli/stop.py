"""``fedlearn stop``: ends a run after the round that is going on."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from fedlearn.errors import RunDirectoryError
from fedlearn.federation.server import queue
from fedlearn.federation.server.config import ServerConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of ``fedlearn stop``."""
    parser.add_argument("run", help="the run's id, as fedlearn runs shows it")
    parser.add_argument("--config", type=Path, default=Path("server.toml"), help="the server's settings")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Asks for the end of the run; its checkpoint is kept."""
    config = ServerConfig.load(arguments.config)
    if arguments.run not in queue.runs_in(config.runs):
        raise RunDirectoryError(f"{arguments.run!r} is no run of this server; `fedlearn runs` lists them")
    queue.ask_to_stop(config.runs / arguments.run)
    said = "it ends after the round that is going on"
    print(json.dumps({"run": arguments.run, "stop": "asked"}) if arguments.json else said)
    return 0
