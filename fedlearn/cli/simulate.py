"""``fedlearn simulate``: an experiment from its file to its run directory."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from fedlearn.cli.profile import profile_lines
from fedlearn.cli.progress import LiveProgress, PlainProgress
from fedlearn.cli.table import summary_lines
from fedlearn.errors import ConfigError
from fedlearn.experiment import Experiment
from fedlearn.runs.profile import Profile
from fedlearn.runs.progress import Progress, Silent
from fedlearn.runs.result import Result
from fedlearn.runs.trackers import TRACKERS
from fedlearn.runs.trackers.tracked import Tracked


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of ``fedlearn simulate``."""
    parser.add_argument("file", nargs="?", help="the experiment (TOML); not needed with --resume")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="lay a value over the file"
    )
    parser.add_argument(
        "--engine", choices=["inprocess", "flower"], default="inprocess", help="who carries messages"
    )
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="worker processes (default: one per core once rounds take long enough; 1 starts none)",
    )
    parser.add_argument("--out", type=Path, help="run directory (default: runs/NAME)")
    parser.add_argument("--resume", type=Path, metavar="DIR", help="go on with an interrupted run")
    parser.add_argument(
        "--ledger",
        type=Path,
        metavar="DIR",
        help="folder of a policy and the clients' ledgers, over all runs",
    )
    parser.add_argument(
        "--log",
        action="append",
        default=[],
        metavar="NAME",
        help=f"log public scalars too: {', '.join(TRACKERS)}, or module:Name; may be repeated",
    )
    parser.add_argument(
        "--profile", action="store_true", help="say where the time went: a table, profile.json, the report"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON and nothing else")
    parser.add_argument("--quiet", action="store_true", help="print only where the run directory is")


def run(arguments: argparse.Namespace) -> int:
    """Runs the experiment and prints its table."""
    experiment, out = _experiment(arguments)
    result = _result(arguments, experiment, out)
    if arguments.json:
        print(json.dumps(json.loads(result.to_json()), indent=2))
    elif arguments.quiet:
        print(result.directory)
    else:
        print("\n".join(summary_lines(result)))
        if arguments.profile and (profile := Profile.load(out)) is not None:
            print("\n".join(["", *profile_lines(profile)]))
    return 0


def _experiment(arguments: argparse.Namespace) -> tuple[Experiment, Path]:
    if arguments.resume is not None:
        if arguments.file or arguments.set:
            raise ConfigError(
                "--resume takes the experiment from its run directory; leave out FILE and --set"
            )
        return Experiment.from_toml(arguments.resume / "experiment.toml"), arguments.resume
    if arguments.file is None:
        raise ConfigError("which experiment? fedlearn simulate FILE, or --resume DIR")
    experiment = Experiment.from_toml(arguments.file, settings=arguments.set)
    return experiment, arguments.out or Path("runs") / experiment.config.name


def _result(arguments: argparse.Namespace, experiment: Experiment, out: Path) -> Result:
    options = {
        "out": out,
        "resume": arguments.resume is not None,
        "ledger": arguments.ledger,
        "progress": _tracked(_progress(arguments), arguments.log, out, experiment.config.name),
    }
    if arguments.engine == "flower":
        if arguments.workers is not None:
            raise ConfigError("--workers is of the in-process engine; Flower's takes one node per core")
        if arguments.profile:
            raise ConfigError("--profile is of the in-process engine; leave it out, or leave out --engine")
        from fedlearn.simulation.flower import simulate_flower

        return simulate_flower(experiment, **options)
    from fedlearn.simulation import simulate

    return simulate(experiment, workers=arguments.workers, profile=arguments.profile, **options)


def _tracked(progress: Progress, names: list[str], out: Path, name: str) -> Progress:
    if not names:
        return progress
    return Tracked(progress, [TRACKERS.build(part, {}, directory=out, name=name) for part in names])


def _progress(arguments: argparse.Namespace) -> Progress:
    if arguments.quiet or arguments.json:
        return Silent()
    return LiveProgress() if sys.stderr.isatty() else PlainProgress()
