"""``fedlearn sweep``: an experiment over a grid of settings and several seeds."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fedlearn.errors import RunError

if TYPE_CHECKING:
    from fedlearn.runs.comparison import Group
    from fedlearn.simulation.sweep import Outcome


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of ``fedlearn sweep``."""
    parser.add_argument("file", help="the experiment (TOML)")
    parser.add_argument(
        "--grid",
        action="append",
        default=[],
        metavar="KEY=V1,V2,…",
        help="values of a key; may be repeated, then every combination is run",
    )
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="seeds per point (default 1)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="lay a value over every run"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time (default 1)")
    parser.add_argument(
        "--out", type=Path, help="folder (default: runs/NAME-sweep); finished runs there stay"
    )
    parser.add_argument("--json", action="store_true", help="print the runs as JSON and nothing else")


def run(arguments: argparse.Namespace) -> int:
    """Runs what is missing of the grid, prints its table and writes it; raises if a run failed."""
    from fedlearn.runs.comparison import comparison_lines
    from fedlearn.simulation.sweep import Axis, cells, summary, sweep

    axes = [Axis.parse(text) for text in arguments.grid]
    wanted = cells(arguments.file, axes, seeds=arguments.seeds, settings=arguments.set)
    out = arguments.out or Path("runs") / f"{wanted[0].experiment.config.name}-sweep"
    outcomes = sweep(wanted, out=out, jobs=arguments.jobs, observe=_silent if arguments.json else _told)
    table = "\n".join(comparison_lines(groups(outcomes)))
    page = _write(out, table, _page(arguments, wanted[0].experiment.config.name, outcomes))
    print(json.dumps(summary(outcomes), indent=2) if arguments.json else f"\n{table}\n\n{page}")
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    if failed:
        raise RunError(
            f"{len(failed)} of {len(outcomes)} runs failed; {_named(failed[0])}: {failed[0].error};"
            " the others are kept, and the same command runs only what is missing"
        )
    return 0


def _write(out: Path, table: str, page: str) -> Path:
    from fedlearn.rounds.checkpoint import write_atomically

    write_atomically(out / "sweep.md", f"{table}\n".encode())
    write_atomically(out / "sweep.html", page.encode())
    return out / "sweep.html"


def _page(arguments: argparse.Namespace, name: str, outcomes: list[Outcome]) -> str:
    from fedlearn.runs.report.comparison_page import comparison_page

    keys = list(dict.fromkeys(key for outcome in outcomes for key in outcome.cell.settings))
    return comparison_page(
        groups(outcomes),
        title=name,
        lead=f"What {' and '.join(keys) or 'the seed'} does to the model, each point over {arguments.seeds} "
        f"seed{'' if arguments.seeds == 1 else 's'}.",
        command=_command(arguments),
        failures=[f"{_named(outcome)}: {outcome.error}" for outcome in outcomes if outcome.error is not None],
    )


def _command(arguments: argparse.Namespace) -> str:
    """Returns the command line of this sweep, as a shell would take it."""
    words = ["fedlearn", "sweep", arguments.file]
    for option, values in (("--grid", arguments.grid), ("--set", arguments.set)):
        words += [word for value in values for word in (option, value)]
    return shlex.join([*words, "--seeds", str(arguments.seeds)])


def groups(outcomes: list[Outcome]) -> list[Group]:
    """Returns the finished runs by point of the grid, in its order."""
    from fedlearn.runs.comparison import Group
    from fedlearn.runs.result import Result

    points: dict[tuple[tuple[str, str], ...], list[Result]] = {}
    for outcome in outcomes:
        if outcome.result is not None:
            points.setdefault(tuple(outcome.cell.settings.items()), []).append(outcome.result)
    return [Group(label=dict(point), results=results) for point, results in points.items()]


def _told(outcome: Outcome, done: int, of: int) -> None:
    ended = outcome.error or ", ".join(
        f"{name} {value:.3f}"
        for name, value in (outcome.result.final if outcome.result else {}).items()
        if value is not None
    )
    sys.stderr.write(f"{done}/{of}  {_named(outcome)}: {ended}\n")


def _silent(outcome: Outcome, done: int, of: int) -> None:
    del outcome, done, of


def _named(outcome: Outcome) -> str:
    return ", ".join(
        [*(f"{key}={value}" for key, value in outcome.cell.settings.items()), f"seed={outcome.cell.seed}"]
    )
