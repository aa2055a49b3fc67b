"""Clients that see the same digits differently: do normalisation layers of their own help?

``python -m tests.bench.norms --json``; about two minutes of one core. Five clients hold 60 of the
digits of scikit-learn each and 120 to test on. Each sees them by an instrument of its own: as they
are, inverted, rotated by a quarter, blurred, and with half of the contrast over a ramp of
brightness. The labels are alike, so that only the inputs differ: the case that FedBN (Li et al.
2021) is for. The model is a small ``resnet-gn``; a seed draws the records and the initial model.
Accuracy is the mean over the clients, each on what its own instrument shows.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional
from torch.utils.data import TensorDataset

from fedlearn.experiment import Experiment
from fedlearn.simulation import simulate
from tests.bench.figure import Figure, options, show

TRAINED, TESTED = 60, 120
EXPERIMENT: dict[str, Any] = {
    "name": "instruments",
    "rounds": 30,
    "evaluate_every": 30,
    "metrics": ["accuracy"],
    "training": {"learning_rate": 0.05, "momentum": 0.9, "batch_size": 20, "epochs": 4},
}
MODEL: dict[str, Any] = {"name": "resnet-gn", "arguments": {"widths": [8, 16], "groups": 4, "classes": 10}}
LINES: dict[str, dict[str, Any]] = {
    "all layers are shared": {"model": MODEL},
    "norm layers stay": {"model": {**MODEL, "local_layers": ["norm"]}},
    "each client alone": {"model": {**MODEL, "local_layers": ["body.*"]}},
}
PLAIN = "all layers are shared"


def _ramp(images: Tensor) -> Tensor:
    return 0.5 * images + torch.linspace(0.0, 0.5, images.shape[-1])


INSTRUMENTS: dict[str, Callable[[Tensor], Tensor]] = {
    "plain": lambda images: images,
    "inverted": lambda images: 1.0 - images,
    "rotated": lambda images: images.rot90(1, (2, 3)),
    "blurred": lambda images: functional.avg_pool2d(images, 3, stride=1, padding=1),
    "ramp": _ramp,
}


def holdings(seed: int) -> tuple[dict[str, TensorDataset], dict[str, TensorDataset]]:
    """Returns what each client trains and what it is tested on: disjoint digits, seen by its instrument."""
    inputs, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(labels))
    images = torch.tensor(inputs[order] / 16.0, dtype=torch.float32).view(-1, 1, 8, 8)
    targets = torch.tensor(labels[order])
    train, test = {}, {}
    for number, (name, instrument) in enumerate(INSTRUMENTS.items()):
        start = number * (TRAINED + TESTED)
        middle, end = start + TRAINED, start + TRAINED + TESTED
        train[name] = TensorDataset(instrument(images[start:middle]), targets[start:middle])
        test[name] = TensorDataset(instrument(images[middle:end]), targets[middle:end])
    return train, test


def accuracy(sections: dict[str, Any], *, seed: int) -> float:
    """Returns the mean accuracy of the clients on their own held-out records in percent."""
    train, test = holdings(seed)
    experiment = Experiment.from_dict({**EXPERIMENT, **sections, "seed": seed}, clients=train, test=test)
    with tempfile.TemporaryDirectory() as folder:
        result = simulate(experiment, out=Path(folder) / "run", workers=1)
    return 100.0 * statistics.fmean(entry["accuracy"] or 0.0 for entry in result.per_client.values())


def main() -> None:
    """Prints one figure per line, with its difference to shared layers seed by seed."""
    parser = options(__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds, from 0 on")
    arguments = parser.parse_args()
    found: dict[str, list[float]] = {}
    for name, sections in LINES.items():
        started = time.process_time()
        found[name] = [accuracy(sections, seed=seed) for seed in range(arguments.seeds)]
        gains = [ours - plain for ours, plain in zip(found[name], found[PLAIN], strict=True)]
        figure = Figure(
            name=name,
            ours=statistics.fmean(found[name]),
            spread=(min(found[name]), max(found[name])),
            reference=statistics.fmean(found[PLAIN]),
            unit="% accuracy, mean over clients and seeds",
            beside={"gains": tuple(gains), "cpu_s": time.process_time() - started},
        )
        show(figure, as_json=arguments.json)


if __name__ == "__main__":
    main()
