"""What client-level privacy costs on federated Fashion-MNIST: shared noise against the server's, at one ε.

``python -m tests.bench.dp_utility --json``. A hundred clients with 600 records each; a linear classifier on
images of 14 × 14; every client in every round. The sums are those of ``ideal`` mode: the same ring elements
as under masks, and the same model bit for bit (tests/simulation/test_client_level.py).
"""

from __future__ import annotations

import dataclasses
import os
import statistics
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from fedlearn.experiment import Experiment
from fedlearn.experiment.enrolment import Enrolment
from fedlearn.experiment.setup import RunSetup
from fedlearn.privacy.distributed import DistributedGaussian
from fedlearn.rounds.protection import SecureSum
from fedlearn.runs.execution import Execution
from fedlearn.runs.progress import Silent
from fedlearn.simulation.inprocess import in_one_process
from tests.bench.figure import Figure, options, show

EPSILON, DELTA, ROUNDS, SEEDS = 8.0, 1e-3, 30, 3
CLIP, RATE = 0.5, 0.5
ROOT = Path(os.environ.get("FEDLEARN_DATA", Path(__file__).parents[3] / "shared" / "data"))


def model() -> nn.Module:
    """Returns a linear classifier on 2 × 2 means: 1,970 parameters, few coordinates to hide in noise."""
    return nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(196, 10))


def experiment(seed: int, *, noise: str | None, colluders: int = 1) -> Experiment:
    """Returns the study's experiment.

    Args:
      seed: of partition and initial model.
      noise: "central", "distributed", or None for no privacy.
      colluders: in secure aggregation; ten of them come with a tenth of the cohort that may vanish.
    """
    privacy: dict[str, Any] = {"enabled": False}
    if noise is not None:
        privacy = {
            "enabled": True,
            "unit": "client",
            "noise": noise,
            "epsilon": EPSILON,
            "delta": DELTA,
            "clip_norm": CLIP,
        }
    return Experiment.from_dict(
        {
            "name": "dp-utility",
            "seed": seed,
            "rounds": ROUNDS,
            "data": {
                "dataset": "fashion-mnist",
                "folder": str(ROOT / "fashion-mnist"),
                "partition": {"clients": 100},
            },
            "training": {"batch_size": 100, "local_steps": 3, "learning_rate": RATE},
            "algorithm": {"name": "fedavg"},
            "aggregation": {"weights": "uniform"},
            "privacy": privacy,
            "secure_aggregation": {
                "enabled": noise == "distributed",
                "mode": "ideal",
                "modulus_bits": 16,
                "colluders": colluders,
                "dropout": 0.1 if colluders > 1 else 0.0,
            },
        },
        model=model,
    )


class AllHonest(RunSetup):
    """A study of the limit: no client colludes and none is lost, which secure aggregation never assumes.

    Its floor is the whole cohort, and noise parts are made for a hundred honest survivors.
    """

    @cached_property
    def secure(self) -> SecureSum | None:
        secure = super().secure
        assert secure is not None
        assert isinstance(secure.mechanism, DistributedGaussian)
        limit = dataclasses.replace(secure.mechanism, colluders=0, min_survivors=100)
        return dataclasses.replace(secure, mechanism=limit)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one training gave.

    Attributes:
      accuracies: on the common test set after each round, in percent.
      spent: ε at the study's δ, the greatest over clients.
      noise_multiplier: σ of a round.
      remark: what ring and noise are.
    """

    accuracies: list[float]
    spent: float
    noise_multiplier: float
    remark: str


def course(made: Experiment, setup_of: type[RunSetup] = RunSetup) -> Outcome:
    """Runs the experiment; returns accuracy over rounds, and what was spent."""
    enrolment = Enrolment.of(made.population.clients)
    setup = setup_of(experiment=made, run="dp-utility", roster=enrolment.roster)
    transport = in_one_process(setup, enrolment)
    execution = Execution(setup, transport, directory=None, progress=Silent(), strict=True)
    ended = execution.run(execution.begin())
    accuracies = [100.0 * float(entry["metrics"]["accuracy"]) for entry in ended.rounds]
    spent = max((account.epsilon(delta=DELTA) for account in ended.accounts.values()), default=0.0)
    mechanism = setup.mechanism
    return Outcome(
        accuracies=accuracies,
        spent=spent,
        noise_multiplier=0.0 if mechanism is None else mechanism.event().noise_multiplier,
        remark=mechanism.summary if isinstance(mechanism, DistributedGaussian) else "",
    )


ARMS: dict[str, Callable[[int], Outcome]] = {
    "no privacy": lambda seed: course(experiment(seed, noise=None)),
    "central": lambda seed: course(experiment(seed, noise="central")),
    "distributed, c 0, none lost": lambda seed: course(experiment(seed, noise="distributed"), AllHonest),
    "distributed, c 10, a tenth may vanish": lambda seed: course(
        experiment(seed, noise="distributed", colluders=10)
    ),
}


def figures(pattern: str, seeds: int) -> Iterator[Figure]:
    """Yields the figures, seed by seed in turns, medians over seeds of the last round."""
    arms = {name: arm for name, arm in ARMS.items() if name == "central" or pattern in name}
    runs: dict[str, list[Outcome]] = {name: [] for name in arms}
    for seed in range(seeds):
        for name, arm in arms.items():
            runs[name].append(arm(seed))
    central = statistics.median(run.accuracies[-1] for run in runs["central"])
    for name, outcomes in runs.items():
        last = [run.accuracies[-1] for run in outcomes]
        ours, spent = statistics.median(last), max(run.spent for run in outcomes)
        curve = [
            round(statistics.median(column), 1)
            for column in zip(*(r.accuracies for r in outcomes), strict=True)
        ]
        bar, holds = "none", None
        if name == "central":
            bar, holds = f"at least 70, ε ≤ {EPSILON:g}", ours >= 70 and spent <= EPSILON
        if "c 0" in name:
            bar, holds = (
                f"within 1 point of central, ε ≤ {EPSILON:g}",
                ours >= central - 1 and spent <= EPSILON,
            )
        yield Figure(
            name=f"{name}: ε {spent:.3f}, σ {outcomes[0].noise_multiplier:.3f}, after each fifth round"
            f" {curve[4::5]}" + (f"; {outcomes[0].remark}" if outcomes[0].remark else ""),
            ours=ours,
            spread=(min(last), max(last)),
            reference=central,
            unit="% accuracy",
            ratio=ours - central,
            bar=bar,
            holds=holds,
        )


def main() -> None:
    """Prints one line per figure."""
    parser = options(__doc__, only="arms whose name has this in it")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    arguments = parser.parse_args()
    for figure in figures(arguments.only, arguments.seeds):
        show(figure, as_json=arguments.json)


if __name__ == "__main__":
    main()
