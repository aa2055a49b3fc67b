"""Four heart hospitals at record level ε = 1, counted in full: ``python -m tests.bench.hospitals --json``.

FLamby's Fed-Heart-Disease with its preprocessing and its 34 % held out of each hospital, re-split 30 times
(random states 0 to 29; FLamby's own is 43). A figure is the mean of the four centres' test accuracies in
percent, over the splits. Noise is secret, shared by the cohort, sized for one colluder of four; rounds
are simulated in ``ideal`` mode, which gives the bits of ``masked`` without its keys.

Hyper-parameters are round numbers, the same for every line and every split: logistic regression from
zero, 30 rounds of one full-batch step at learning rate 1, C = 1, server FedAvg; statistics at the
defaults (a third of ε, norm √(2 · 13)). They were the first guess of a prototype that tried six settings
on these splits, and were kept, though others there were up to 0.3 points better; so the splits are not
untouched, and ``--sensitivity`` shows how little the choice decides.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedlearn.experiment import Experiment
from fedlearn.experiment.enrolment import Enrolment
from fedlearn.experiment.setup import RunSetup
from fedlearn.runs.assessment import metrics_per_client
from fedlearn.runs.execution import Execution
from fedlearn.runs.progress import Silent
from fedlearn.simulation.inprocess import in_one_process
from tests.bench.figure import Figure, options, show

FOLDER = (
    Path(os.environ.get("FEDLEARN_DATA", Path(__file__).parents[3] / "shared" / "data")) / "heart-disease"
)
PRIVATE = {"enabled": True, "noise": "distributed", "epsilon": 1.0, "delta": 1e-3, "max_grad_norm": 1.0}
SECURE = {"enabled": True, "mode": "ideal", "colluders": 1}
FLAMBY = {
    "FedAvg, no DP": 68.5,
    "FedYogi, no DP: its best": 73.1,
    "FedAvg at nominal ε 1, under-counted (really 1.5 to 4.5)": 70.2,
}
"""FLamby's published means over the four centres, one split (du Terrail et al. 2022)."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One way to train.

    Attributes:
      name: of the figure.
      sections: of the experiment, over the common ones.
      bar: what it must reach, in percent; None for comparison only.
    """

    name: str
    sections: dict[str, Any]
    bar: float | None = None


DECLARED = {**PRIVATE, "statistics": "declared"}
LINES = (
    Line(name="no DP, federated standardisation", sections={}),
    Line(
        name="distributed ε 1, statistics charged",
        sections={"privacy": PRIVATE, "secure_aggregation": SECURE},
        bar=77.0,
    ),
    Line(
        name="distributed ε 1, statistics DECLARED UNPROTECTED",
        sections={"privacy": DECLARED, "secure_aggregation": SECURE},
        bar=79.0,
    ),
    Line(
        name="local ε 1, statistics charged",
        sections={"privacy": {**PRIVATE, "noise": "local"}, "secure_aggregation": SECURE},
    ),
)


def accuracy(
    sections: dict[str, Any], *, split: int, rounds: int = 30, rate: float = 1.0
) -> tuple[float, float]:
    """Returns the mean of the four centres' accuracies in percent, and the ε that was spent."""
    experiment = Experiment.from_dict(
        {
            "name": "hospitals",
            "rounds": rounds,
            "metrics": ["accuracy"],
            "data": {
                "dataset": "heart-disease",
                "folder": str(FOLDER),
                "arguments": {"split": split},
                "partition": {"kind": "by-owner"},
                "standardise": "federated",
            },
            "model": {"name": "logistic"},
            "training": {"learning_rate": rate},
            **sections,
        }
    )
    enrolment = Enrolment.of(experiment.population.clients)
    setup = RunSetup(experiment=experiment, run="bench", roster=enrolment.roster)
    transport = in_one_process(setup, enrolment)
    execution = Execution(setup, transport, directory=None, progress=Silent(), strict=True)
    course = execution.run(execution.begin())
    model = experiment.build_model()
    model.load(course.model)
    centres = [entry["accuracy"] or 0.0 for entry in metrics_per_client(experiment, model).values()]
    return 100.0 * float(np.mean(centres)), course.epsilon(1e-3) or 0.0


def figures(splits: int, only: str) -> Iterator[Figure]:
    """Yields one figure per line, and the gap between the private and the plain one."""
    found: dict[str, list[float]] = {}
    for line in LINES:
        if only not in line.name:
            continue
        started = time.process_time()
        runs = [accuracy(line.sections, split=split) for split in range(splits)]
        found[line.name] = [value for value, _ in runs]
        beside = {
            "epsilon": max(epsilon for _, epsilon in runs),
            "cpu_s": time.process_time() - started,
            "published": FLAMBY,
        }
        yield _figure(line.name, found[line.name], line.bar, **beside)
    plain = found.get(LINES[0].name)
    for line in LINES[1:3]:
        if plain is not None and line.name in found:
            gaps = [a - b for a, b in zip(plain, found[line.name], strict=True)]
            yield _gap(f"gap to no DP: {line.name}", gaps)


def sensitivity(splits: int) -> Iterator[Figure]:
    """Yields what neighbouring hyper-parameters give with statistics charged."""
    sections = LINES[1].sections
    for rounds, rate in ((30, 1.0), (10, 1.0), (30, 0.5), (30, 2.0), (100, 0.5)):
        values = [accuracy(sections, split=split, rounds=rounds, rate=rate)[0] for split in range(splits)]
        yield _figure(f"rounds={rounds}, learning_rate={rate:g}", values, None)


def _figure(name: str, values: list[float], bar: float | None, **beside: object) -> Figure:
    mean = statistics.fmean(values)
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
    return Figure(
        name=name,
        ours=mean,
        spread=(min(values), max(values)),
        reference=70.2,
        unit="% mean of centres, mean over splits",
        ratio=mean / 70.2,
        bar="none" if bar is None else f">= {bar}",
        holds=None if bar is None else mean >= bar,
        beside={"median": statistics.median(values), "standard_error": error, **beside},
    )


def _gap(name: str, gaps: list[float]) -> Figure:
    mean = statistics.fmean(gaps)
    return Figure(
        name=name,
        ours=mean,
        spread=(min(gaps), max(gaps)),
        reference=0.0,
        unit="points, mean over splits",
        bar="<= 1.5",
        holds=mean <= 1.5,
        beside={"median": statistics.median(gaps)},
    )


def main() -> None:
    """Prints one line per figure."""
    parser = options(__doc__, only="lines whose name contains this")
    parser.add_argument("--splits", type=int, default=30)
    parser.add_argument("--sensitivity", action="store_true")
    arguments = parser.parse_args()
    made = (
        sensitivity(arguments.splits) if arguments.sensitivity else figures(arguments.splits, arguments.only)
    )
    for figure in made:
        show(figure, as_json=arguments.json)
    if not arguments.json:
        for name, value in FLAMBY.items():
            print(f"{'FLamby: ' + name:<52}{value:>7} % mean of centres, one split")


if __name__ == "__main__":
    main()
