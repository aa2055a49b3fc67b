"""``fedlearn report``: the HTML report of a finished run."""

from __future__ import annotations

import argparse
from pathlib import Path

from fedlearn.runs.directory import RunDirectory
from fedlearn.runs.report import report_page
from fedlearn.runs.result import Result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of ``fedlearn report``."""
    parser.add_argument("directory", help="a run directory")


def run(arguments: argparse.Namespace) -> int:
    """Writes ``report.html`` into the run directory and prints its path."""
    directory = RunDirectory(Path(arguments.directory))
    result, rounds = Result.load(directory.path), directory.rounds()
    directory.write("report.html", report_page(result, rounds, experiment=directory.experiment()))
    print(directory.path / "report.html")
    return 0
