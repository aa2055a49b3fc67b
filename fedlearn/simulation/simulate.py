"""``fedlearn.simulate``: one experiment, start to finish, on this machine."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path

from fedlearn.experiment import Experiment
from fedlearn.experiment.enrolment import Enrolment
from fedlearn.experiment.ledgers import LedgerFolder, burn_cut_off
from fedlearn.experiment.setup import RunSetup
from fedlearn.runs.finish import amend
from fedlearn.runs.profile import PROFILE_FILE, Profile
from fedlearn.runs.progress import Progress, Silent
from fedlearn.runs.result import Result
from fedlearn.runs.run import OpenRun, execute
from fedlearn.simulation.baselines import baselines_of
from fedlearn.simulation.clock import clocked
from fedlearn.simulation.engine import Engine, one_thread
from fedlearn.simulation.personalise import own_models_of
from fedlearn.simulation.repeatable import repeatability_finding
from fedlearn.stopwatch import running


def simulate(
    experiment: Experiment,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    workers: int | None = None,
    ledger: str | Path | None = None,
    progress: Progress | None = None,
    profile: bool = False,
) -> Result:
    """Runs an experiment on this machine and returns its result.

    Args:
      experiment: what to run.
      out: the run directory; by default ``runs/NAME`` under the current folder.
      resume: go on from the checkpoint in ``out``; the result is that of an uninterrupted run.
      workers: number of worker processes; 1 stays in this process; None takes one per core once the
        rounds take long enough. The result is the same, bit for bit, except for secret noise.
      ledger: a folder with a policy (:mod:`fedlearn.privacy.policy`), where clients keep what their records
        spend over all runs; by default a run counts for itself. Its clients live in this process.
      progress: watches; by default nobody does.
      profile: count where the time goes, in ``profile.json`` and in the report.

    Raises:
      FedLearnError: one of its kinds, each with the value, the bound and the way out.
    """
    started = _cpu_seconds()
    progress = progress or Silent()
    path = Path(out) if out is not None else Path("runs") / experiment.config.name
    folder = None if ledger is None else LedgerFolder(Path(ledger))
    population = experiment.population
    if folder is None:
        enrolment = Enrolment.needed_by(experiment.config, population)
    else:
        enrolment = folder.enrolment(population.clients)
    clock = time.perf_counter()
    with ExitStack() as stack:
        watch = stack.enter_context(running()) if profile else None
        stack.enter_context(one_thread())
        ledgers = {} if folder is None else stack.enter_context(folder.opened(enrolment.keys))
        opened = OpenRun.at(path, experiment, resume=resume, unique=bool(ledgers))
        if resume:
            burn_cut_off(ledgers, opened.run)
        setup = RunSetup(
            experiment=experiment,
            run=opened.run,
            roster=enrolment.roster,
            memory=opened.directory.memory,
        )
        with Engine(setup, enrolment, opened.accounts, ledgers=ledgers, workers=workers) as engine:
            transport = clocked(setup, engine, now=opened.now)
            result = execute(opened, setup, transport, engine="inprocess", progress=progress, strict=True)
        if watch is not None:
            watch.turn_to()
            counted = {"main": watch.by_phase().values(), **engine.worker_seconds}
            profiled = Profile.of(time.perf_counter() - clock, counted)
            opened.directory.write(PROFILE_FILE, profiled.model_dump_json(indent=2) + "\n")
        try:
            baselines = baselines_of(experiment, progress, under_ledger=bool(ledgers), workers=workers)
        except BaseException:
            # What the run gave is reported without its comparisons.
            amend(opened.directory, result, result.baselines)
            raise
        own = own_models_of(setup, opened.directory, progress, under_ledger=bool(ledgers))
        spent = round(_cpu_seconds() - started, 3)
        timed = result.model_copy(update={"timing": result.timing.model_copy(update={"cpu_s": spent})})
        if (unrepeatable := repeatability_finding(setup)) is not None:
            timed = timed.model_copy(update={"findings": [*timed.findings, unrepeatable]})
        return amend(opened.directory, timed, baselines, own)


def _cpu_seconds() -> float:
    """Returns what this process and its children that have ended have computed."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
