"""``fedlearn report``: the HTML report of a finished run, or several runs side by side."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedlearn.runs.directory import RunDirectory


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of ``fedlearn report``."""
    parser.add_argument("directory", nargs="+", type=Path, help="a run directory; several are compared")


def run(arguments: argparse.Namespace) -> int:
    """Writes the report of one run and prints its path; prints the table of several."""
    from fedlearn.runs.comparison import Group, comparison_lines
    from fedlearn.runs.directory import RunDirectory
    from fedlearn.runs.result import Result

    paths: list[Path] = arguments.directory
    if len(paths) == 1:
        print(write_report(RunDirectory(paths[0])))
        return 0
    groups = [Group(label={"run": str(path)}, results=[Result.load(path)]) for path in paths]
    print("\n".join(comparison_lines(groups)))
    return 0


def write_report(directory: RunDirectory) -> Path:
    """Writes ``report.html`` of a finished run anew, attacks on it included, and returns its path."""
    from fedlearn.runs.report import Material, report_page
    from fedlearn.runs.result import Result

    material = Material.read(directory, Result.load(directory.path))
    directory.write("report.html", report_page(material))
    return directory.path / "report.html"
