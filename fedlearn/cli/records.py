"""The records that a command measures a model on: its arguments, and what they mean."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedlearn.results import LoadedModel
    from fedlearn.results.data import HeldOut


def add_record_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares which records, for commands that measure."""
    parser.add_argument(
        "--data",
        metavar="WHAT",
        help="a CSV or npz file, a folder of CSV files or of the run's data set, or another data set by name;"
        " default: what the run held out",
    )
    parser.add_argument("--folder", type=Path, metavar="DIR", help="local files of a data set given by name")
    parser.add_argument("--target", default="target", metavar="COLUMN", help="column of the class in files")
    parser.add_argument("--as-is", action="store_true", help="inputs are standardised already")


def records_of(arguments: argparse.Namespace, loaded: LoadedModel) -> HeldOut:
    """Returns the records that the arguments name; raises ConfigError or DataError if there are none."""
    from fedlearn.results.data import held_out

    return held_out(
        loaded, arguments.data, folder=arguments.folder, target=arguments.target, as_is=arguments.as_is
    )
