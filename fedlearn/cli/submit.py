"""``fedlearn submit``: queues an experiment, follows it, and ends with its exit code."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from fedlearn.cli.progress import LiveProgress, PlainProgress
from fedlearn.config import ExperimentConfig
from fedlearn.errors import FedLearnError, RunError
from fedlearn.federation import failure
from fedlearn.federation.following import Follower
from fedlearn.federation.server import queue
from fedlearn.federation.server.config import ServerConfig
from fedlearn.runs.progress import Progress, Silent

LOOK_SECONDS = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of ``fedlearn submit``."""
    parser.add_argument("file", type=Path, help="the experiment (TOML)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="lay a value over it")
    parser.add_argument("--config", type=Path, default=Path("server.toml"), help="the server's settings")
    parser.add_argument("--detach", action="store_true", help="print the run's id and do not wait")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")


def run(arguments: argparse.Namespace) -> int:
    """Queues the experiment; returns 0 once it has finished, and raises what it failed with."""
    config = ServerConfig.load(arguments.config)
    experiment = ExperimentConfig.from_toml(arguments.file, settings=arguments.set)
    run = queue.submit(config.runs, experiment)
    directory = config.runs / run
    if arguments.detach:
        print(json.dumps({"run": run, "directory": str(directory)}) if arguments.json else run)
        return 0
    follow(directory, experiment, quiet=arguments.json)
    if arguments.json:
        print((directory / "result.json").read_text(encoding="utf-8"), end="")
        return 0
    print(directory)
    return 0


def follow(directory: Path, experiment: ExperimentConfig, *, quiet: bool = False) -> None:
    """Shows how a run goes until it is over.

    Raises:
      FedLearnError: what the run failed with.
    """
    progress: Progress = Silent() if quiet else _progress()
    told = ""
    with Follower(directory, experiment, progress) as follower:
        while (status := queue.read(directory)).state in queue.OPEN:
            if not quiet and (line := _waiting(status)) != told:
                told = line
                if line:
                    sys.stderr.write(line + "\n")
            follower.look()
            time.sleep(LOOK_SECONDS)
    if status.state != "finished":
        error: FedLearnError | None = failure.read(directory)
        raise error or RunError(f"run {directory.name} was {status.state}: {status.reason}")


def _progress() -> Progress:
    return LiveProgress() if sys.stderr.isatty() else PlainProgress()


def _waiting(status: queue.Status) -> str:
    if status.state != "waiting":
        return ""
    return (
        f"waiting for sites: {status.present} here, at least {status.needed} needed;"
        f" missing: {', '.join(status.missing)}"
    )
