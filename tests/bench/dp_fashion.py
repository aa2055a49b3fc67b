"""Central DP-SGD on Fashion-MNIST: accuracy and ε, epoch by epoch, of ``simulations/dp-fashion.toml``.

``python -m tests.bench.dp_fashion --json`` takes about 15 minutes on one quiet core; the published figure
for this network, recipe and δ is 86.0 % (Tramèr and Boneh 2021, Table 1, "end-to-end CNN"). The recipe
and the last epoch are fixed in advance: nothing is chosen on the test set.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import TensorDataset

from fedlearn.config import ExperimentConfig
from fedlearn.crypto.noise import NoiseSource
from fedlearn.data import DATASETS
from fedlearn.models import MODELS
from fedlearn.privacy.accounting import epsilon
from fedlearn.privacy.events import SampledGaussianEvent
from fedlearn.training.batches import StepPlan, fetch
from fedlearn.training.local import Recipe, Workbench
from fedlearn.training.objective import cross_entropy
from fedlearn.training.optimizers import sgd
from fedlearn.training.record_privacy import RecordPrivacy, poisson_sample
from fedlearn.training.schedules import constant
from fedlearn.training.vector import FlatModel
from tests.bench.figure import Figure, options, show

SCENARIO = Path(__file__).parents[2] / "simulations" / "dp-fashion.toml"
ACCURACY_BAR, EPSILON_BAR, PUBLISHED = 0.86, 2.6, 0.860


class Run:
    """One training run of the scenario; ``curve`` grows by one point per epoch."""

    def __init__(self, seed: int, epochs: int | None) -> None:
        self._config = ExperimentConfig.from_toml(SCENARIO)
        root = Path(os.environ.get("FEDLEARN_DATA", SCENARIO.parents[2] / "shared" / "data"))
        records = DATASETS.build("fashion-mnist", {}, folder=root / "fashion-mnist").records
        inputs, targets = torch.from_numpy(records.inputs), torch.from_numpy(records.targets)
        held_out = torch.from_numpy(records.is_test)
        self._train = TensorDataset(inputs[~held_out], targets[~held_out])
        self._test = TensorDataset(inputs[held_out], targets[held_out])
        training, settings = self._config.training, self._config.privacy
        self._plan = StepPlan.of(training, declared_size=len(self._train))
        self._epochs = epochs or training.epochs or 1
        assert settings.noise_multiplier is not None
        self._privacy = RecordPrivacy(
            noise_multiplier=settings.noise_multiplier,
            max_grad_norm=settings.max_grad_norm,
            sample_rate=self._plan.sample_rate,
            declared_size=len(self._train),
        )
        torch.manual_seed(seed)
        self._model = FlatModel(MODELS.build("tanh-cnn", {}, shape=(1, 28, 28), classes=10))
        recipe = Recipe(
            optimizer=sgd,
            learning_rate=training.learning_rate,
            momentum=training.momentum,
            weight_decay=training.weight_decay,
            schedule=constant,
            rounds=1,
            loss=cross_entropy,
        )
        self._bench = Workbench(self._model, recipe)
        self._started = time.process_time()
        self.curve: list[dict[str, float]] = []

    def train(self) -> None:
        """Runs all steps on one optimizer."""
        noise = NoiseSource()

        def gradient(indices: NDArray[np.int64]) -> bool:
            inputs, targets = fetch(self._train, indices)
            self._bench.private_gradient.write(inputs, targets, privacy=self._privacy, noise=noise)
            return True

        self._bench.descend(self._model.params(), round=0, batches=self._samples(noise), gradient=gradient)
        self._measure(self._steps)

    @property
    def _steps(self) -> int:
        return self._plan.steps * self._epochs // (self._config.training.epochs or 1)

    def _samples(self, noise: NoiseSource) -> Iterator[NDArray[np.int64]]:
        per_epoch = self._steps // self._epochs
        for step in range(self._steps):
            if step and step % per_epoch == 0:
                self._measure(step)
            yield poisson_sample(len(self._train), self._privacy, noise)

    def _measure(self, steps: int) -> None:
        self._model.module.eval()
        with torch.no_grad():
            outputs = torch.cat(
                [self._model.module(piece) for piece in torch.split(self._test.tensors[0], 1000)]
            )
        self._model.module.train()
        event = SampledGaussianEvent(
            noise_multiplier=self._privacy.noise_multiplier,
            sample_rate=self._privacy.sample_rate,
            steps=steps,
        )
        point = {
            "steps": steps,
            "accuracy": float((outputs.argmax(dim=1) == self._test.tensors[1]).float().mean()),
            "epsilon": epsilon([event], delta=self._config.privacy.delta),
            "cpu_seconds": time.process_time() - self._started,
        }
        self.curve.append(point)
        sys.stderr.write(json.dumps(point) + "\n")


def main() -> None:
    """Trains, and prints one line per figure."""
    parser = options(__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the first weights; the noise is secret")
    parser.add_argument("--epochs", type=int, help="fewer, to measure the speed")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    run = Run(arguments.seed, arguments.epochs)
    run.train()
    last = run.curve[-1]
    beside = {"steps": last["steps"], "cpu_seconds": last["cpu_seconds"], "seed": arguments.seed}
    accuracy = Figure(
        name="dp-fashion: test accuracy",
        ours=last["accuracy"],
        reference=PUBLISHED,
        unit="1",
        bar=f">= {ACCURACY_BAR}",
        holds=last["accuracy"] >= ACCURACY_BAR,
        beside=beside,
    )
    spent = Figure(
        name="dp-fashion: epsilon at delta 1e-5",
        ours=last["epsilon"],
        reference=3.0,
        unit="1",
        bar=f"<= {EPSILON_BAR}",
        holds=last["epsilon"] <= EPSILON_BAR,
        beside=beside,
    )
    for figure in (accuracy, spent):
        show(figure, as_json=arguments.json)


if __name__ == "__main__":
    main()
