"""``fedlearn up``: an experiment on a whole federation on this machine, with real certificates."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from fedlearn.cli.submit import follow
from fedlearn.cli.table import summary_lines
from fedlearn.errors import RunDirectoryError
from fedlearn.federation.server import queue
from fedlearn.federation.server.config import ServerConfig
from fedlearn.runs.result import Result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of ``fedlearn up``."""
    parser.add_argument("file", type=Path, help="the experiment (TOML); a site per client")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="lay a value over it")
    parser.add_argument("--out", type=Path, help="run directory (default: runs/NAME-sites)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep kits, logs and ledgers in this folder")
    parser.add_argument("--stock", action="store_true", help="poll and start programs as stock Flower does")
    parser.add_argument("--json", action="store_true", help="print the result as JSON and nothing else")


def run(arguments: argparse.Namespace) -> int:
    """Starts everything, runs the experiment, ends everything, and prints the result."""
    from fedlearn.experiment import Experiment
    from fedlearn.federation.local import LocalFederation

    experiment = Experiment.from_toml(arguments.file, settings=arguments.set)
    config = experiment.config
    out = arguments.out or Path("runs") / f"{config.name}-sites"
    if out.exists() and any(out.iterdir()):
        if not (out / "experiment.toml").exists():
            raise RunDirectoryError(f"{out} is not empty and holds no run; choose another folder with --out")
        shutil.rmtree(out)
    sites = sorted(experiment.population.clients)
    folder = (arguments.keep or Path(tempfile.mkdtemp(prefix="fedlearn-"))).absolute()
    try:
        hurry = not arguments.stock
        federation = LocalFederation.create(config, folder, sites=sites, fast_poll=hurry, warm=hurry)
        if not arguments.json:
            sys.stderr.write(f"{len(sites)} sites and a server, kits in {folder}\n")
        with federation.running():
            runs = ServerConfig.load(federation.server_file).runs
            name = queue.submit(runs, config)
            follow(runs / name, config, quiet=arguments.json)
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(runs / name, out)
    finally:
        if arguments.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    result = Result.load(out)
    print(result.to_json() if arguments.json else "\n".join(summary_lines(result)))
    return 0
