"""A whole run over a Flower grid: hosts started, rounds run, result written."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from fedlearn.errors import ConfigError
from fedlearn.experiment import Experiment
from fedlearn.experiment.enrolment import Enrolment
from fedlearn.experiment.ledgers import LedgerFolder
from fedlearn.experiment.setup import RunSetup
from fedlearn.federation.assignment import Assignment
from fedlearn.federation.grid import GridTransport
from fedlearn.federation.pool import HostPool
from fedlearn.runs.progress import RoundReport
from fedlearn.runs.result import Result
from fedlearn.runs.run import OpenRun, execute

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
    if experiment.config.fleet.enabled:
        raise ConfigError(
            "fleet.enabled=true lets simulated time pass, which only the in-process engine does: set it to"
            " false, or use --engine inprocess"
        )


def conduct(
    grid: Any, experiment: Experiment, path: Path, *, resume: bool = False, ledger: Path | None = None
) -> Result:
    """Runs all rounds of a simulation over a grid and writes the run directory.

    Baselines are absent from the result: they need no federation, and whoever launched the run
    computes them in one process.

    Args:
      grid: Flower's grid; any of its nodes serves any client.
      experiment: what to run; must be all in its TOML, because the hosts read it from there.
      path: the run directory.
      resume: go on from the checkpoint in it.
      ledger: a folder with a policy, where clients keep what their records spend over all runs.

    Raises:
      FedLearnError: one of its kinds, each with the value, the bound and the way out.
    """
    check_conductible(experiment)
    opened = OpenRun.at(path, experiment, resume=resume, unique=ledger is not None)
    clients = experiment.population.clients
    enrolment = Enrolment.of(clients) if ledger is None else LedgerFolder(ledger).enrolment(clients)
    setup = RunSetup(
        experiment=experiment, run=opened.run, roster=enrolment.roster, memory=opened.directory.memory
    )
    told = _assignment(setup, enrolment, opened, ledger)
    with HostPool(told, logs=path / LOGS) as pool:
        transport = GridTransport(grid, addresses=pool.addresses)
        return execute(opened, setup, transport, engine="flower", progress=LoggedProgress(), strict=True)


def _assignment(setup: RunSetup, enrolment: Enrolment, opened: OpenRun, ledger: Path | None) -> Assignment:
    return Assignment(
        experiment=setup.experiment.to_toml(),
        run=setup.run,
        roster={name: key.public for name, key in enrolment.keys.items()},
        keys={name: key.to_bytes() for name, key in enrolment.keys.items()},
        accounts={name: json.dumps(account.to_dict()) for name, account in opened.accounts.items()},
        resumed=opened.checkpoint is not None,
        ledger="" if ledger is None else str(ledger),
        directory=str(opened.directory.path),
    )
