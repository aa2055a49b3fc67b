"""A whole run over a Flower grid: hosts started, rounds run, result written."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from fedlearn.errors import ConfigError
from fedlearn.experiment import Experiment
from fedlearn.experiment.enrolment import Enrolment
from fedlearn.experiment.ledgers import LedgerFolder
from fedlearn.experiment.setup import RunSetup
from fedlearn.federation.assignment import Assignment
from fedlearn.federation.cluster.watched import WatchedTransport
from fedlearn.federation.environment import cluster_address
from fedlearn.federation.grid import GridTransport, check_flower
from fedlearn.federation.pool import HostPool
from fedlearn.rounds.transport import Transport
from fedlearn.runs.progress import RoundReport
from fedlearn.runs.result import Result
from fedlearn.runs.run import OpenRun, execute
from fedlearn.secagg.roster import Roster

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


def check_conductible(experiment: Experiment, *, ledger: Path | None = None) -> None:
    """Raises ConfigError for what only the in-process engine, or only one machine, can do."""
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
    if ledger is not None and (address := cluster_address()):
        raise ConfigError(
            f"--ledger {ledger}: ledgers are files of one machine, and RAY_ADDRESS={address} spreads clients"
            " over several; unset it, or leave the ledger out"
        )


def conduct(
    grid: Any, experiment: Experiment, path: Path, *, resume: bool = False, ledger: Path | None = None
) -> Result:
    """Runs all rounds of a simulation over a grid and writes the run directory.

    Clients live on this machine, or, if Ray joins a cluster that exists, on the machines of that.
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
    check_conductible(experiment, ledger=ledger)
    opened = OpenRun.at(path, experiment, resume=resume, unique=ledger is not None)
    housed = _on_cluster(grid, opened) if cluster_address() else _on_this_machine(grid, opened, ledger)
    with housed as (roster, transport):
        setup = _setup(opened, roster)
        return execute(opened, setup, transport, engine="flower", progress=LoggedProgress(), strict=True)


@contextmanager
def _on_this_machine(grid: Any, opened: OpenRun, ledger: Path | None) -> Iterator[tuple[Roster, Transport]]:
    """Yields the identities of clients that live in processes of this machine, and the way to them."""
    clients = opened.experiment.population.clients
    enrolment = Enrolment.of(clients) if ledger is None else LedgerFolder(ledger).enrolment(clients)
    told = msgspec.structs.replace(
        _assignment(opened),
        roster={name: key.public for name, key in enrolment.keys.items()},
        keys={name: key.to_bytes() for name, key in enrolment.keys.items()},
        ledger="" if ledger is None else str(ledger),
    )
    with HostPool(told, logs=opened.directory.path / LOGS) as pool:
        yield enrolment.roster, GridTransport(grid, addresses=pool.addresses)


@contextmanager
def _on_cluster(grid: Any, opened: OpenRun) -> Iterator[tuple[Roster, Transport]]:
    """Yields the identities of clients that live on the nodes of a cluster, and the way to them."""
    from fedlearn.federation.cluster.pool import ClusterPool  # imports Ray

    clients = opened.experiment.population.clients
    shared = _setup(opened, Enrolment.of({}).roster).keeps
    with ClusterPool(_assignment(opened), clients, logs=opened.directory.path / LOGS, shared=shared) as pool:

        def check() -> None:
            check_flower()
            pool.check()

        transport = GridTransport(grid, addresses=pool.addresses, check=check)
        yield pool.roster, WatchedTransport(transport, check=pool.check)


def _setup(opened: OpenRun, roster: Roster) -> RunSetup:
    return RunSetup(
        experiment=opened.experiment, run=opened.run, roster=roster, memory=opened.directory.memory
    )


def _assignment(opened: OpenRun) -> Assignment:
    """Returns what every host is told, whoever lives in it."""
    return Assignment(
        experiment=opened.experiment.to_toml(),
        run=opened.run,
        accounts={name: json.dumps(account.to_dict()) for name, account in opened.accounts.items()},
        resumed=opened.checkpoint is not None,
        directory=str(opened.directory.path),
    )
