"""Scenes for tests: a tiny federation of images, and one whose adversary learns nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import TensorDataset

from fedlearn._types import Vector
from fedlearn.attacks.scene import Scene, Trained, Transcript
from fedlearn.experiment import Experiment
from fedlearn.simulation.attack import play, train

CLIENTS = 5
PRIVATE = {"rounds": 5, "privacy": {"enabled": True, "epsilon": 3.0, "delta": 1e-3}}
"""Few rounds, to be quick: the noise is calibrated to all of them, however many."""

PRIVATE_CLIENTS = {
    "rounds": 5,
    "privacy": {"enabled": True, "unit": "client", "noise": "distributed", "epsilon": 3.0, "delta": 1e-3},
    "aggregation": {"weights": "uniform"},
    "secure_aggregation": {"enabled": True},
}


def images(count: int, seed: int) -> TensorDataset:
    """Blurred noise of 8×8 pixels, mostly dark as most images are: records that no guess comes near."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 1, 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=8, mode="bilinear")
    return TensorDataset(smooth.square(), torch.randint(3, (count,), generator=generator))


def victim(**sections: Any) -> Experiment:
    """A federation whose labels are random: only by heart can its model know them."""
    settings: dict[str, Any] = {
        "rounds": 30,
        "model": {"name": "mlp", "arguments": {"hidden": [128], "classes": 3}},
        "training": {"learning_rate": 1.0, "momentum": 0.9, "local_steps": 1},
        "data": {"test_fraction": 0.5},
    }
    return Experiment.from_dict(
        {**settings, **sections},
        clients={f"client-{number}": images(16, number) for number in range(CLIENTS)},
        test=images(64, 99),
    )


def scene(experiment: Experiment) -> Scene:
    return Scene(experiment=experiment, play=play, train=train)


def blind(experiment: Experiment) -> Scene:
    """The same scene, where what reaches the adversary does not depend on any record."""

    def noise(cut: Experiment, params: Vector) -> Transcript:
        rng = np.random.default_rng(1)
        d = len(params)
        vectors = {name: rng.normal(size=d) for name in cut.population.clients}
        return Transcript(received=vectors, aggregate=rng.normal(size=d).astype(np.float32))

    def untrained(cut: Experiment) -> Trained:
        return Trained(params=cut.initial_params, epsilon=None, delta=0.0)

    return replace(scene(experiment), play=noise, train=untrained)
