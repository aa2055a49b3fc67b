"""``fedlearn.simulate``: one experiment, start to finish, in this process."""

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
from fedlearn.simulation.inprocess import in_one_process


def simulate(
    experiment: Experiment,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Runs an experiment in this process and returns its result.

    Args:
      experiment: what to run.
      out: the run directory; by default ``runs/NAME`` under the current folder.
      resume: go on from the checkpoint in ``out``; the result is that of an uninterrupted run.
      progress: watches; by default nobody does.

    Raises:
      FedLearnError: one of its kinds, each with the value, the bound and the way out.
    """
    progress = progress or Silent()
    path = Path(out) if out is not None else Path("runs") / experiment.config.name
    enrolment = Enrolment.of(experiment.population.clients)
    opened = OpenRun.at(path, experiment, resume=resume)
    setup = RunSetup(experiment=experiment, run=opened.run, roster=enrolment.roster)
    transport = in_one_process(setup, enrolment, opened.accounts)
    result = execute(opened, setup, transport, engine="inprocess", progress=progress, strict=True)
    return amend(opened.directory, result, compute_baselines(experiment, progress))
