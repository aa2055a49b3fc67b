"""A whole run over real sites: waited for, agreed on, run, written."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from fedlearn.config import ExperimentConfig
from fedlearn.errors import UnknownClient
from fedlearn.experiment import Experiment
from fedlearn.experiment.setup import RunSetup
from fedlearn.federation.grid import GridTransport
from fedlearn.federation.private_files import read_signing_key
from fedlearn.federation.roster import FederationRoster
from fedlearn.federation.server.agreement import TERMS, Agreement
from fedlearn.federation.server.attendance import Attendance
from fedlearn.federation.server.config import ServerConfig
from fedlearn.federation.server.newcomers import Newcomers, SitesCame
from fedlearn.federation.server.nodes import Nodes
from fedlearn.federation.server.sealed import SealedTransport
from fedlearn.federation.server.steering import Steering
from fedlearn.federation.site.data import population_of
from fedlearn.federation.site.identity import read_roster
from fedlearn.federation.terms import Proposal
from fedlearn.runs.directory import RunDirectory
from fedlearn.runs.result import Result
from fedlearn.runs.run import OpenRun, execute
from fedlearn.training.memory import Elsewhere

_log = logging.getLogger("flwr")


def conduct(grid: Any, experiment: str, config: ServerConfig, path: Path) -> Result:
    """Runs all rounds that are left and writes the run directory.

    Sites that come later join between two rounds, in another attempt. A run that was cut off goes on under
    its own id from its last checkpoint; the round that was open is void. Its sites were told a higher
    attempt, so they begin it with fresh keys.

    Args:
      grid: Flower's grid.
      experiment: the resolved experiment, as TOML.
      config: the server.
      path: the run's folder; its name is the run's id.

    Raises:
      FedLearnError: one of its kinds, each with the value, the bound and the way out.
    """
    opened = time.perf_counter()
    roster = read_roster(config.path(config.roster), consortium=bytes.fromhex(config.consortium))
    nodes = Nodes(grid, roster.members)
    transport = _transport(grid, nodes, config, roster)
    least = config.waiting.sites or len(roster.members)
    attendance = Attendance(connected=nodes.connected, directory=path, seconds=config.waiting.seconds)
    agreement = Agreement(
        transport=transport,
        run=path.name,
        experiment=experiment,
        roster=roster.digest,
        directory=path,
        least=least,
    )
    newcomers = Newcomers(members=roster.members, connected=nodes.connected)
    waiting = attendance
    while True:
        proposal = _agreed(agreement, waiting, newcomers, least)
        _log.info("fedlearn: run %s, attempt %d, %d sites", path.name, proposal.attempt, len(proposal.sizes))
        run = _open(path, proposal, config, opened)
        setup = RunSetup(experiment=run.experiment, run=run.run, roster=roster.clients, memory=Elsewhere())
        steering = Steering(
            attendance=attendance,
            sites=list(proposal.sizes),
            least=_floor(setup, least),
            newcomers=newcomers,
        )
        with suppress(SitesCame):
            result = execute(run, setup, transport, engine="sites", progress=steering, strict=False)
            agreement.finish(list(nodes.connected().keys() & proposal.sizes.keys()))
            return result
        waiting = replace(attendance, seconds=0.0)  # whoever is missing was so in the round before


def _transport(grid: Any, nodes: Nodes, config: ServerConfig, roster: FederationRoster) -> SealedTransport:
    key = read_signing_key(config.path(config.key))
    if key.public != roster.server:
        raise UnknownClient(
            f"{config.path(config.key)} is not the server's key on roster version {roster.version};"
            " sites would not believe it: use the current kit"
        )
    inner = GridTransport(grid, addresses={}, route=nodes.route, in_flight=max(32, len(roster.members)))
    return SealedTransport(inner, key=key, roster=roster, step_seconds=config.waiting.step_seconds)


def _agreed(agreement: Agreement, attendance: Attendance, newcomers: Newcomers, least: int) -> Proposal:
    if not (agreement.directory / TERMS).exists():
        return agreement.reach(attendance.wait(newcomers.members, least=least))
    newcomers.invite(agreement)
    sites = list(agreement.kept().sizes)
    present = attendance.wait(sites, least=min(least, len(sites)))
    return agreement.renew(present)


def _open(path: Path, proposal: Proposal, config: ServerConfig, opened: float) -> OpenRun:
    experiment = known_experiment(proposal, config)
    directory, checkpoint = RunDirectory(path), None
    if directory.checkpoint_path.exists():
        directory, checkpoint = RunDirectory.reopen(path, experiment)
    return OpenRun(
        experiment=experiment, run=path.name, directory=directory, checkpoint=checkpoint, opened=opened
    )


def known_experiment(proposal: Proposal, config: ServerConfig) -> Experiment:
    """Returns the experiment as the server knows it: sizes, and a test set where it has one."""
    settings = ExperimentConfig.from_toml_text(proposal.experiment)
    if config.evaluate == "nowhere":
        return Experiment(config=settings, known=population_of(proposal.sizes, proposal.schema))
    whole = Experiment(config=settings).population
    held = {site: client for site, client in whole.clients.items() if site in proposal.sizes}
    return Experiment(
        config=settings,
        known=population_of(proposal.sizes, proposal.schema, held=held, test=whole.test),
    )


def _floor(setup: RunSetup, least: int) -> int:
    return least if setup.secure is None else setup.secure.parameters.min_survivors
