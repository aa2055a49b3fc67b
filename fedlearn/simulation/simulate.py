"""``fedlearn.simulate``: one experiment, start to finish, on this machine."""

from __future__ import annotations

from pathlib import Path

from fedlearn.experiment import Experiment
from fedlearn.experiment.plan import Enrolment
from fedlearn.experiment.setup import RunSetup
from fedlearn.runs.finish import amend
from fedlearn.runs.progress import Progress, Silent
from fedlearn.runs.result import Result
from fedlearn.runs.run import OpenRun, execute
from fedlearn.simulation.baselines import compute_baselines
from fedlearn.simulation.engine import Engine, one_thread


def simulate(
    experiment: Experiment,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Result:
    """Runs an experiment on this machine and returns its result.

    Args:
      experiment: what to run.
      out: the run directory; by default ``runs/NAME`` under the current folder.
      resume: go on from the checkpoint in ``out``; the result is that of an uninterrupted run.
      workers: number of worker processes; 1 stays in this process; None takes one per core once the
        rounds take long enough. The result is the same, bit for bit, except for secret noise.
      progress: watches; by default nobody does.

    Raises:
      FedLearnError: one of its kinds, each with the value, the bound and the way out.
    """
    progress = progress or Silent()
    path = Path(out) if out is not None else Path("runs") / experiment.config.name
    enrolment = Enrolment.of(experiment.population.clients)
    opened = OpenRun.at(path, experiment, resume=resume)
    setup = RunSetup(experiment=experiment, run=opened.run, roster=enrolment.roster)
    with one_thread():
        with Engine(setup, enrolment, opened.accounts, workers=workers) as engine:
            result = execute(opened, setup, engine, engine="inprocess", progress=progress, strict=True)
        return amend(opened.directory, result, compute_baselines(experiment, progress, workers=workers))
