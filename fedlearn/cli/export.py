"""``fedlearn export``: a run's model as a file for other programs, with a model card.

Example::

    fedlearn export runs/quickstart --onnx --int8 --out deploy
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from fedlearn.cli.records import add_record_arguments, model_of, records_of
from fedlearn.errors import ConfigError, FedLearnError

if TYPE_CHECKING:
    from fedlearn.results import LoadedModel
    from fedlearn.results.export.exporting import Measured, Reference

_STATEMENT = "privacy_statement.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "--onnx", dest="formats", action="append_const", const="onnx", help="write model.onnx"
    )
    parser.add_argument(
        "--pt2", dest="formats", action="append_const", const="pt2", help="write model.pt2 (torch.export)"
    )
    parser.add_argument("--int8", action="store_true", help="write a second file with weights of eight bits")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of files and card")
    add_record_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Writes the files, ``model_card.md`` and the privacy statement; prints what each file costs."""
    from fedlearn.results.export.card import model_card
    from fedlearn.results.export.exporting import export_model
    from fedlearn.rounds.checkpoint import write_atomically

    if not arguments.formats:
        raise ConfigError("which format? --onnx, --pt2 or both")
    loaded = model_of(arguments)
    reference = _reference(arguments, loaded)
    files = export_model(
        loaded,
        list(dict.fromkeys(arguments.formats)),
        out=arguments.out,
        reference=reference,
        metrics=loaded.metrics if loaded.is_classifier else {},
        int8=arguments.int8,
        as_is=arguments.as_is,
    )
    card = model_card(loaded, files, reference, as_is=arguments.as_is)
    write_atomically(arguments.out / "model_card.md", card.encode())
    shutil.copyfile(loaded.directory / _STATEMENT, arguments.out / _STATEMENT)
    _print(files)
    print(f"\n{arguments.out / 'model_card.md'}")
    return 0


def _reference(arguments: argparse.Namespace, loaded: LoadedModel) -> Reference:
    """Returns records to compare on: held-out ones where they are at hand, else drawn ones."""
    import numpy as np

    from fedlearn.results.data import raw
    from fedlearn.results.export.exporting import Reference, drawn_reference

    try:
        found = records_of(arguments, loaded)
    except FedLearnError:
        if arguments.data is not None:
            raise
        return drawn_reference(loaded, rng=np.random.default_rng(0))
    inputs, targets = raw(loaded, found, as_is=arguments.as_is)
    return Reference(inputs=inputs, targets=targets, source=found.source)


def _print(files: list[Measured]) -> None:
    print(f"{'file':<18}{'precision':<14}{'bytes':>10}{'ms/record':>11}{'difference':>12}{'same class':>12}")
    for entry in files:
        print(
            f"{entry.file:<18}{entry.kind:<14}{entry.size:>10,}{entry.milliseconds:>11.2f}"
            f"{entry.difference:>12.1e}{entry.agreement:>12.1%}"
            + "".join(f"  {name} {value:.4f}" for name, value in list(entry.metrics.items())[:1])
        )
