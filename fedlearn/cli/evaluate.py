"""``fedlearn evaluate``: how good a run's model is on held-out or other records, and how sure that is.

Examples::

    fedlearn evaluate runs/quickstart
    fedlearn evaluate runs/quickstart --data patients.csv --target diagnosis
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from fedlearn.cli.records import add_record_arguments, model_of, records_of
from fedlearn.errors import ConfigError

if TYPE_CHECKING:
    from fedlearn.results.evaluation import Estimate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_record_arguments(parser)
    parser.add_argument(
        "--repeats", type=int, default=1000, metavar="N", help="bootstrap resamples (default 1000)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the resamples")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")


def run(arguments: argparse.Namespace) -> int:
    """Prints every metric of the experiment with its interval."""
    import numpy as np

    from fedlearn.results.evaluation import estimates
    from fedlearn.training.batches import size_of

    if arguments.repeats < 1 or arguments.seed < 0:
        raise ConfigError(
            f"--repeats {arguments.repeats} must be at least 1, --seed {arguments.seed} at least 0"
        )
    loaded = model_of(arguments)
    data = records_of(arguments, loaded)
    found = estimates(
        loaded.module,
        data.records,
        loaded.metrics,
        repeats=arguments.repeats,
        rng=np.random.default_rng(arguments.seed),
    )
    count = size_of(data.records, client="data")
    if arguments.json:
        told = {name: {key: _json(v) for key, v in asdict(value).items()} for name, value in found.items()}
        print(json.dumps({"source": data.source, "records": count, "metrics": told}, indent=2))
        return 0
    print(f"{count} records, {data.source}\n")
    _print(found)
    return 0


def _print(found: Mapping[str, Estimate]) -> None:
    print(f"{'metric':<18}{'value':>9}   95 % interval over records")
    for name, value in found.items():
        print(f"{name:<18}{value.value:>9.3f}   {value.low:.3f} – {value.high:.3f}")
    print("\nComputed here, without noise: who publishes these numbers tells something about these records.")


def _json(value: float) -> float | None:
    return value if math.isfinite(value) else None
