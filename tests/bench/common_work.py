"""The peers' common work on our engine: ``python -m tests.bench.common_work --model mlp --workers 2``.

Data, split, cohorts and models are those of ``fl_common.py`` in the folder FEDLEARN_PEERS; one RESULT
line says how fast it went. Records are taken in a fixed order, as the peers take them, so that all
compute the same numbers. Clients are virtual: their records are cut from one mapped file when needed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import TensorDataset

from fedlearn.experiment import Experiment
from fedlearn.experiment.enrolment import Enrolment
from fedlearn.experiment.setup import RunSetup
from fedlearn.experiment.virtual import VirtualClients
from fedlearn.runs.execution import Execution
from fedlearn.runs.progress import RoundReport, Silent
from fedlearn.simulation.engine import Engine, one_thread
from fedlearn.stopwatch import running
from fedlearn.training.batches import StepPlan
from tests.bench.peers import PEERS

sys.path.insert(0, str(PEERS))
import fl_common as common  # type: ignore[import-not-found]  # a peer's script, found by its path


class Scheduled(Experiment):
    """The common work's cohorts instead of our own."""

    def cohort(self, round: int) -> tuple[str, ...]:
        """Returns the clients that the schedule names, sorted."""
        names = self.population.names
        return tuple(sorted(names[user] for user in SCHEDULE[round]))


SCHEDULE: list[NDArray[np.int64]] = []


class Clock(Silent):
    """Notes when rounds end, and the processor time at the end of the warm-up."""

    def __init__(self, warmup: int) -> None:
        self.marks = [time.perf_counter()]
        self.cpu = 0.0
        self._warmup = warmup

    def begin(self, label: str, rounds: int) -> None:
        """Starts the clock."""
        self.marks = [time.perf_counter()]
        self.cpu = common.tree_cpu()

    def round_done(self, report: RoundReport) -> None:
        """Notes the end of a round."""
        self.marks.append(time.perf_counter())
        if report.round == self._warmup:
            self.cpu = common.tree_cpu()


class Alternating(Clock):
    """Counts in every other round where the time goes, and notes each round's processor time.

    Attributes:
      seconds: of the rounds that counted (True) and of those that did not.
    """

    def __init__(self, warmup: int) -> None:
        super().__init__(warmup)
        self.seconds: dict[bool, list[float]] = {False: [], True: []}
        self._counts = False
        self._stopwatch = ExitStack()
        self._began = time.process_time()

    def round_done(self, report: RoundReport) -> None:
        """Notes the round, and starts or stops the stopwatch."""
        super().round_done(report)
        if report.round > self._warmup:
            self.seconds[self._counts].append(time.process_time() - self._began)
        self._counts = not self._counts
        self._stopwatch.close()
        if self._counts:
            self._stopwatch.enter_context(running())
        self._began = time.process_time()

    def counted_over_plain(self) -> float:
        """Returns the ratio of the medians."""
        counted, plain = (statistics.median(self.seconds[counts]) for counts in (True, False))
        return counted / plain


def in_order(
    self: StepPlan, records: int, size: int, rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Deals records as the peers do: in the order in which they lie."""
    del rng
    order, start = np.arange(records), 0
    for _ in range(self.steps):
        start = 0 if start >= records else start
        yield order[start : start + size]
        start += size


def prepare(folder: Path, arguments: argparse.Namespace) -> None:
    """Writes the common data set into a folder, in a process of its own: loading it takes memory once."""
    inputs, targets = common.load_fashion()
    np.save(folder / "inputs.npy", inputs.numpy())
    np.save(folder / "targets.npy", targets.numpy())
    np.save(folder / "parts.npy", np.stack(users_of(targets.numpy(), arguments)))


def users_of(labels: NDArray[np.int64], arguments: argparse.Namespace) -> list[NDArray[np.int64]]:
    """Returns the records of each user; users beyond the first thousand repeat these."""
    base = min(arguments.users, 1000)
    parts = common.partition(
        labels, base, arguments.alpha, arguments.mean_size, arguments.sizes, arguments.seed
    )
    return [parts[user % base] for user in range(arguments.users)]


def clients_of(folder: Path) -> VirtualClients:
    """Returns the users of a prepared folder."""
    # Plain arrays over the mapped files: one of numpy's memmap class takes as long to index as to copy.
    inputs, parts = (
        np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in ("inputs", "parts")
    )
    targets = np.load(folder / "targets.npy")

    def records(index: int) -> TensorDataset:
        chosen = parts[index]
        return TensorDataset(torch.from_numpy(inputs[chosen]), torch.from_numpy(targets[chosen]))

    return VirtualClients(count=len(parts), records=records, size=parts.shape[1])


def experiment_of(arguments: argparse.Namespace, clients: VirtualClients) -> Experiment:
    """Returns the common work as an experiment."""
    rounds = arguments.warmup + arguments.rounds
    privacy: dict[str, Any] = {"enabled": False}
    training: dict[str, Any] = {"learning_rate": arguments.lr, "batch_size": arguments.batch}
    if arguments.dp:
        privacy = {"enabled": True, "noise_multiplier": 1.0, "max_grad_norm": 1.0, "delta": 1e-5}
    return Scheduled.from_dict(
        {
            "name": "common-work",
            "rounds": rounds,
            "seed": arguments.seed,
            "training": {**training, "epochs": arguments.epochs},
            "aggregation": {"weights": "uniform"},
            "cohort": {"fraction": arguments.cohort / arguments.users},
            "privacy": privacy,
            "secure_aggregation": {"enabled": arguments.secure != "off"}
            | ({"mode": arguments.secure} if arguments.secure != "off" else {}),
        },
        clients=clients,
        model=lambda: common.make_model(arguments.model, arguments.seed),
    )


def run(folder: Path, arguments: argparse.Namespace) -> None:
    """Runs the work and prints one RESULT line."""
    SCHEDULE[:] = common.schedule(
        arguments.users, arguments.cohort, arguments.warmup + arguments.rounds, arguments.seed
    )
    StepPlan._dealt = in_order  # type: ignore[method-assign]
    watch = common.MemWatch()
    watch.start()
    experiment = experiment_of(arguments, clients_of(folder))
    enrolment = Enrolment.needed_by(experiment.config, experiment.population)
    setup = RunSetup(experiment=experiment, run="bench", roster=enrolment.roster)
    clock = Alternating(arguments.warmup) if arguments.profile else Clock(arguments.warmup)
    with one_thread(), Engine(setup, enrolment, workers=arguments.workers) as engine:
        execution = Execution(setup, engine, directory=None, progress=clock, strict=True)
        course = execution.run(execution.begin())
        cpu = common.tree_cpu() - clock.cpu
        peak = watch.stop()
    common.report(
        f"fedlearn x{arguments.workers}",
        arguments,
        list(np.diff(clock.marks)[arguments.warmup :]),
        peak,
        {"dp": arguments.dp, "secure": arguments.secure}
        | ({"counted_over_plain": clock.counted_over_plain()} if isinstance(clock, Alternating) else {}),
        cpu,
    )
    if arguments.dump:
        model = experiment.build_model()
        model.load(course.state.params)
        torch.save(model.module.state_dict(), arguments.dump)


def main() -> None:
    """Parses the arguments, prepares the data and runs."""
    parser = common.add_args(argparse.ArgumentParser())
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--profile",
        action="store_true",
        help="count in every other round where the time goes, for its cost; with one worker",
    )
    parser.add_argument("--dp", action="store_true")
    parser.add_argument("--secure", choices=["off", "masked", "ideal"], default="off")
    parser.add_argument("--data", type=Path, help="a prepared folder")
    parser.add_argument("--prepare", action="store_true", help="only write the folder")
    arguments = parser.parse_args()
    if arguments.prepare:
        prepare(arguments.data, arguments)
    elif arguments.data is not None:
        run(arguments.data, arguments)
    else:
        with tempfile.TemporaryDirectory() as folder:
            prepare(Path(folder), arguments)
            run(Path(folder), arguments)


if __name__ == "__main__":
    main()
