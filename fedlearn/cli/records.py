"""The model that a command uses, and the records that it is measured on: arguments, and what they mean."""

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
    parser.add_argument("--target", default="target", metavar="COLUMN", help="column of the class in files")
    add_model_arguments(parser)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares which run, and what its inputs are standardised by where the run does not know it."""
    parser.add_argument("run", type=Path, metavar="RUN", help="a run directory")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="local files of a data set given by name")
    parser.add_argument(
        "--client",
        metavar="NAME",
        help="this client's own model, of a simulation with personalisation.keep_models",
    )
    unknown = parser.add_mutually_exclusive_group()
    unknown.add_argument("--as-is", action="store_true", help="inputs are standardised already")
    unknown.add_argument(
        "--constants",
        metavar="NAME",
        help="the data set whose published constants the sites of the run standardised by",
    )


def model_of(arguments: argparse.Namespace) -> LoadedModel:
    """Returns the run's model; raises RunDirectoryError or ConfigError if the arguments give none."""
    from fedlearn.results import load_model
    from fedlearn.results.published import with_constants_of

    loaded = load_model(arguments.run, client=arguments.client)
    if arguments.constants is None:
        return loaded
    return with_constants_of(loaded, arguments.constants, folder=arguments.folder)


def records_of(arguments: argparse.Namespace, loaded: LoadedModel) -> HeldOut:
    """Returns the records that the arguments name; raises ConfigError or DataError if there are none."""
    from fedlearn.results.data import held_out

    return held_out(
        loaded, arguments.data, folder=arguments.folder, target=arguments.target, as_is=arguments.as_is
    )
