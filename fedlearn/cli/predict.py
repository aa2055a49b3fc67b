"""``fedlearn predict``: a run's model on the records of a file.

Example::

    fedlearn predict runs/quickstart patients.csv --id patient --out predictions.csv
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

from fedlearn.cli.records import add_model_arguments, model_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_model_arguments(parser)
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="records as CSV with a header, or npz with 'inputs'"
    )
    parser.add_argument("--id", metavar="COLUMN", help="column that names the records; it is passed through")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to write the CSV (default: print it)")


def run(arguments: argparse.Namespace) -> int:
    """Writes one line per record: its most probable class and the probability of each."""
    from fedlearn.results.prediction import outputs_of, write_predictions
    from fedlearn.results.reading import read_records
    from fedlearn.rounds.checkpoint import write_atomically

    loaded = model_of(arguments)
    model = loaded.deployed(as_is=arguments.as_is)
    records = read_records(arguments.file, loaded.signature, identifier=arguments.id)
    outputs = outputs_of(model, records.inputs)
    if arguments.out is None:
        write_predictions(records, outputs, sys.stdout, classifier=loaded.is_classifier)
        return 0
    text = io.StringIO()
    write_predictions(records, outputs, text, classifier=loaded.is_classifier)
    write_atomically(arguments.out, text.getvalue().encode())
    print(arguments.out)
    return 0
