"""A whole run over a Flower grid: hosts started, rounds run, result written."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from fedlearn.errors import ConfigError
from fedlearn.experiment import Experiment
from fedlearn.experiment.plan import Enrolment
from fedlearn.experiment.setup import RunSetup
from fedlearn.federation.assignment import Assignment
from fedlearn.federation.grid import GridTransport
from fedlearn.federation.pool import HostPool
from fedlearn.runs.directory import RunDirectory
from fedlearn.runs.execution import Execution
from fedlearn.runs.finish import finish
from fedlearn.runs.progress import RoundReport
from fedlearn.runs.result import Baselines, Result
from fedlearn.runs.summary import absent

LOGS = "flower"

_log = logging.getLogger("flwr")  # the logger that `flwr run --stream` shows


class LoggedProgress:
    """Tells of a run in Flower's log, one line per round."""

    def begin(self, label: str, rounds: int) -> None:
        """Logs the beginning."""
        _log.info("fedlearn: %s: %d rounds", label, rounds)

    def client_done(self, round: int, done: int, cohort: int) -> None:
        """Ignores single clients: a log is no place for them."""

    def round_done(self, report: RoundReport) -> None:
        """Logs a round."""
        metrics = ", ".join(
            f"{name} {value:.4g}" for name, value in report.metrics.items() if value is not None
        )
        outcome = report.failure or f"{report.survivors} clients"
        _log.info("fedlearn: round %d/%d: %s %s", report.round, report.rounds, outcome, metrics)

    def end(self) -> None:
        """Ignores the end: the result follows."""


def check_conductible(experiment: Experiment) -> None:
    """Raises ConfigError for what only the in-process engine can do."""
    if experiment.has_objects:
        raise ConfigError(
            "objects given in Python cannot travel to Flower's processes:"
            " name them in the configuration as 'package.module:Name', or use the in-process engine"
        )
    if experiment.config.faults.dropout > 0:
        raise ConfigError(
            f"faults.dropout={experiment.config.faults.dropout} is injected by the in-process engine only:"
            " set it to 0, or use --engine inprocess"
        )


def conduct(grid: Any, experiment: Experiment, path: Path, *, resume: bool = False) -> Result:
    """Runs all rounds of a simulation over a grid and writes the run directory.

    Baselines are absent from the result: they need no federation, and whoever launched the run
    computes them in one process.

    Args:
      grid: Flower's grid; any of its nodes serves any client.
      experiment: what to run; must be all in its TOML, because the hosts read it from there.
      path: the run directory.
      resume: go on from the checkpoint in it.

    Raises:
      FedLearnError: one of its kinds, each with the value, the bound and the way out.
    """
    started = time.perf_counter()
    check_conductible(experiment)
    if resume:
        directory, checkpoint = RunDirectory.reopen(path, experiment)
        run = str(checkpoint.record["run"])
    else:
        directory, checkpoint = RunDirectory.create(path, experiment), None
        run = f"{experiment.config.name}-{experiment.config.seed}"
    enrolment = Enrolment.of(experiment.population.clients)
    setup = RunSetup(experiment=experiment, run=run, roster=enrolment.roster)
    with HostPool(_assignment(setup, enrolment), logs=path / LOGS) as pool:
        transport = GridTransport(grid, addresses=pool.addresses)
        execution = Execution(setup, transport, directory=directory, progress=LoggedProgress(), strict=True)
        course = execution.begin() if checkpoint is None else execution.resume(checkpoint)
        setup_seconds = time.perf_counter() - started
        course = execution.run(course)
    return finish(
        setup, course, directory, engine="flower", setup_seconds=setup_seconds, baselines=_no_baselines()
    )


def _assignment(setup: RunSetup, enrolment: Enrolment) -> Assignment:
    return Assignment(
        experiment=setup.experiment.to_toml(),
        run=setup.run,
        roster={name: key.public for name, key in enrolment.keys.items()},
        keys={name: key.to_bytes() for name, key in enrolment.keys.items()},
    )


def _no_baselines() -> Baselines:
    reason = "not computed by the Flower engine"
    return Baselines(local=absent(reason), unprotected=absent(reason), pooled=absent(reason))
