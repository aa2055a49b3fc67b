"""The same experiment with Flower carrying the messages, and the same result."""

from __future__ import annotations

from pathlib import Path

from fedlearn.errors import ConfigError
from fedlearn.experiment import Experiment
from fedlearn.experiment.enrolment import Enrolment
from fedlearn.experiment.setup import RunSetup
from fedlearn.federation.launch import run_flower
from fedlearn.runs.directory import RunDirectory
from fedlearn.runs.finish import amend
from fedlearn.runs.progress import Progress, Silent
from fedlearn.runs.result import Result
from fedlearn.simulation.baselines import baselines_of
from fedlearn.simulation.personalise import own_models_of


def simulate_flower(
    experiment: Experiment,
    *,
    out: Path,
    resume: bool = False,
    ledger: Path | None = None,
    progress: Progress | None = None,
) -> Result:
    """Runs an experiment in Flower's simulation on Ray and returns its result.

    Args:
      experiment: what to run; own parts by import path, as objects cannot travel.
      out: the run directory.
      resume: go on from the checkpoint in ``out``.
      ledger: a folder with a policy, where clients keep what their records spend over all runs.
      progress: watches; by default nobody does.

    Raises:
      FedLearnError: what the run raised, or RunError if Flower ended without a result.
    """
    if experiment.config.devices.names != ("cpu",):
        raise ConfigError(
            f"devices.use={experiment.config.devices.use!r}: on Flower clients train on the CPU; leave it"
            " out, or use --engine inprocess"
        )
    progress = progress or Silent()
    run_flower(experiment, out, resume=resume, ledger=ledger, progress=progress)
    baselines = baselines_of(experiment, progress, under_ledger=ledger is not None)
    directory = RunDirectory(out)
    setup = RunSetup(
        experiment=experiment,
        run=experiment.config.name,
        roster=Enrolment.of({}).roster,
        memory=directory.memory,
    )
    own = own_models_of(setup, directory, progress, under_ledger=ledger is not None)
    return amend(directory, Result.load(out), baselines, own)
