"""Small finished runs for the tests of what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fedlearn import simulate
from fedlearn.experiment import Experiment

TABLE: dict[str, Any] = {
    "name": "table",
    "rounds": 2,
    "data": {"dataset": "breast-cancer", "partition": {"kind": "iid", "clients": 3}},
    "model": {"name": "logistic"},
    "training": {"local_steps": 2, "learning_rate": 1.0},
}
IMAGES: dict[str, Any] = {
    "name": "images",
    "rounds": 1,
    "data": {"dataset": "digits", "partition": {"kind": "iid", "clients": 2}},
    "model": {"name": "cnn"},
    "training": {"local_steps": 1},
}


def a_run(path: Path, values: dict[str, Any], **sections: Any) -> Path:
    """Returns the directory of a run that has just ended."""
    merged = {**values, **{name: {**values.get(name, {}), **part} for name, part in sections.items()}}
    simulate(Experiment.from_dict(merged), out=path, workers=1)
    return path
