"""``fedlearn report``: the HTML report of a finished run, or several runs side by side."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from fedlearn.errors import ConfigError

if TYPE_CHECKING:
    from fedlearn.runs.comparison import Group
    from fedlearn.runs.directory import RunDirectory


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of ``fedlearn report``."""
    parser.add_argument("directory", nargs="+", type=Path, help="a run directory; several are compared")
    parser.add_argument("--out", type=Path, metavar="FILE", help="several runs: write their page here (HTML)")


def run(arguments: argparse.Namespace) -> int:
    """Writes the report of one run and prints its path; prints the table of several."""
    from fedlearn.rounds.checkpoint import write_atomically
    from fedlearn.runs.comparison import Group, comparison_lines
    from fedlearn.runs.directory import RunDirectory
    from fedlearn.runs.result import Result

    paths: list[Path] = arguments.directory
    if len(paths) == 1:
        if arguments.out is not None:
            raise ConfigError("--out goes with several runs; the report of one lies in its directory")
        print(write_report(RunDirectory(paths[0])))
        return 0
    groups = [Group(label={"run": str(path)}, results=[Result.load(path)]) for path in paths]
    print("\n".join(comparison_lines(groups)))
    if arguments.out is not None:
        write_atomically(arguments.out, _page(groups, arguments).encode())
        print(f"\n{arguments.out}")
    return 0


def _page(groups: list[Group], arguments: argparse.Namespace) -> str:
    from fedlearn.runs.report.comparison_page import comparison_page

    return comparison_page(
        groups,
        title=" · ".join(dict.fromkeys(group.results[0].name for group in groups)),
        lead="How these runs compare.",
        command=shlex.join(
            ["fedlearn", "report", *map(str, arguments.directory), "--out", str(arguments.out)]
        ),
    )


def write_report(directory: RunDirectory) -> Path:
    """Writes ``report.html`` of a finished run anew, attacks on it included, and returns its path."""
    from fedlearn.runs.report import Material, report_page
    from fedlearn.runs.result import Result

    material = Material.read(directory, Result.load(directory.path))
    directory.write("report.html", report_page(material))
    return directory.path / "report.html"
