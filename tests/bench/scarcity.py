"""Ten images a client, labels skewed: ``python -m tests.bench.scarcity --json``; about five minutes of CPU.

Fashion-MNIST on 20 clients, Dirichlet 0.1, ten training images each, so 200 in all; the data set's own
10,000 test images. A figure is the mean accuracy in percent over the seeds, which draw partition, records and
initial model. The model is the small ``cnn``.

The composition was chosen on 3,000 training images that no client holds, before the test images were looked
at: plain FedAvg, server momentum with one step a round, and either with views and smoothed labels. No
line has more than 250 gradient steps in a client; one step a round asks for four times the rounds.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fedlearn.experiment import Experiment
from fedlearn.experiment.enrolment import Enrolment
from fedlearn.experiment.population import Population
from fedlearn.experiment.setup import RunSetup
from fedlearn.runs.assessment import metrics_on
from fedlearn.runs.execution import Execution
from fedlearn.runs.progress import Silent
from fedlearn.simulation.inprocess import in_one_process
from tests.bench.figure import Figure, options, show

FOLDER = (
    Path(os.environ.get("FEDLEARN_DATA", Path(__file__).parents[3] / "shared" / "data")) / "fashion-mnist"
)
DATA: dict[str, Any] = {
    "dataset": "fashion-mnist",
    "folder": str(FOLDER),
    "partition": {"kind": "dirichlet", "clients": 20, "arguments": {"alpha": 0.1}},
    "scarcity": {"records_per_client": 10},
}
FEDAVG: dict[str, Any] = {
    "rounds": 50,
    "training": {"batch_size": 10, "epochs": 5, "learning_rate": 0.05},
}
ONE_STEP: dict[str, Any] = {
    "rounds": 200,
    "training": {"local_steps": 1, "learning_rate": 0.1},
    "algorithm": {"name": "fedavgm"},
}
VIEWS: dict[str, Any] = {
    "remedies": {"augmentation": [{"name": "shift"}, {"name": "flip"}], "label_smoothing": 0.1}
}
POOLED: dict[str, Any] = {
    "rounds": 50,
    "training": {"batch_size": 10, "epochs": 2, "learning_rate": 0.05},
}


@dataclass(frozen=True, kw_only=True)
class Line:
    """One way to train.

    Attributes:
      name: of the figure.
      sections: of the experiment.
      pooled: all records at one client.
      bar: what it must reach, in percent; None for comparison only.
    """

    name: str
    sections: dict[str, Any]
    pooled: bool = False
    bar: float | None = None


LINES = (
    Line(name="FedAvg", sections=FEDAVG),
    Line(name="FedAvg, shifted and flipped views, smoothed labels", sections=FEDAVG | VIEWS),
    Line(name="one step a round, server momentum", sections=ONE_STEP),
    Line(name="composed: both", sections=ONE_STEP | VIEWS, bar=70.0),
    Line(name="pooled", sections=POOLED, pooled=True),
)


def accuracy(line: Line, *, seed: int) -> float:
    """Returns the accuracy on all test images in percent."""
    experiment = Experiment.from_dict(
        {"name": "scarce", "seed": seed, "metrics": ["accuracy"], "data": DATA, "model": {"name": "cnn"}}
        | line.sections
    )
    population = experiment.population
    # Without a test set no round is evaluated; the last one is, below.
    blind = replace(experiment, known=replace(_joined(population) if line.pooled else population, test=None))
    enrolment = Enrolment.of(blind.population.clients)
    setup = RunSetup(experiment=blind, run="bench", roster=enrolment.roster)
    execution = Execution(
        setup, in_one_process(setup, enrolment), directory=None, progress=Silent(), strict=True
    )
    course = execution.run(execution.begin())
    model = blind.build_model()
    model.load(course.model)
    return 100.0 * (metrics_on(experiment, model, population.test)["accuracy"] or 0.0)


def _joined(population: Population) -> Population:
    one = next(iter(population.clients.values()))
    size = sum(client.size for client in population.clients.values())
    together = replace(one, train=population.pooled(), test=None, size=size, declared_size=size)
    return replace(population, clients={"pooled": together})


def figures(seeds: int, only: str) -> Iterator[Figure]:
    """Yields one figure per line."""
    for line in LINES:
        if only not in line.name:
            continue
        started = time.process_time()
        found = [accuracy(line, seed=seed) for seed in range(seeds)]
        mean = statistics.fmean(found)
        yield Figure(
            name=line.name,
            ours=mean,
            spread=(min(found), max(found)),
            unit="% accuracy",
            bar="none" if line.bar is None else f"≥ {line.bar:g}",
            holds=None if line.bar is None else mean >= line.bar,
            beside={"seeds": seeds, "cpu_s": time.process_time() - started},
        )


def main() -> None:
    """Prints the figures that the command line asks for."""
    parser = options(__doc__, only="part of a figure's name")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds, from 0 on")
    arguments = parser.parse_args()
    for figure in figures(arguments.seeds, arguments.only):
        show(figure, as_json=arguments.json)


if __name__ == "__main__":
    main()
