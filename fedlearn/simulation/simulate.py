"""``fedlearn.simulate``: one experiment, start to finish, in this process."""

from __future__ import annotations

import time
from pathlib import Path

from fedlearn.experiment import Experiment
from fedlearn.experiment.plan import Enrolment
from fedlearn.experiment.setup import RunSetup
from fedlearn.runs.assessment import metrics_per_client, spread_of
from fedlearn.runs.directory import RunDirectory
from fedlearn.runs.execution import Course, Execution
from fedlearn.runs.finish import finish
from fedlearn.runs.progress import Progress, Silent
from fedlearn.runs.result import Baseline, Baselines, Result
from fedlearn.runs.summary import absent
from fedlearn.simulation.baselines import local_baseline, pooled_baseline, unprotected
from fedlearn.simulation.faults import STEPS, Dropouts
from fedlearn.simulation.inprocess import InProcess


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
    started = time.perf_counter()
    path = Path(out) if out is not None else Path("runs") / experiment.config.name
    setup, execution, course = _prepared(experiment, path, resume=resume, progress=progress)
    seconds = time.perf_counter() - started
    course = execution.run(course)
    baselines = compute_baselines(setup, progress)
    return finish(
        setup, course, RunDirectory(path), engine="inprocess", setup_seconds=seconds, baselines=baselines
    )


def compute_baselines(setup: RunSetup, progress: Progress) -> Baselines:
    """Returns the comparisons that the experiment asks for, each in this process."""
    wanted, measurable = setup.experiment.config.baselines, setup.experiment.population.test is not None
    computed: dict[str, Baseline] = {}
    for name, compute in (
        ("local", local_baseline),
        ("unprotected", _unprotected_baseline),
        ("pooled", pooled_baseline),
    ):
        if not getattr(wanted, name):
            computed[name] = absent(f"not asked for: baselines.{name} = true computes it")
        elif not measurable:
            computed[name] = absent("there is no held-out test set")
        else:
            computed[name] = compute(setup, progress)
    return Baselines(**computed)


def _prepared(
    experiment: Experiment, path: Path, *, resume: bool, progress: Progress
) -> tuple[RunSetup, Execution, Course]:
    if resume:
        directory, checkpoint = RunDirectory.reopen(path, experiment)
        run = str(checkpoint.record["run"])
    else:
        directory, checkpoint = RunDirectory.create(path, experiment), None
        run = f"{experiment.config.name}-{experiment.config.seed}"
    setup, transport = in_one_process(experiment, run)
    execution = Execution(setup, transport, directory=directory, progress=progress, strict=True)
    return setup, execution, execution.begin() if checkpoint is None else execution.resume(checkpoint)


def in_one_process(experiment: Experiment, run: str) -> tuple[RunSetup, InProcess]:
    """Returns the run's setup and a transport to clients that live in this process."""
    enrolment = Enrolment.of(experiment.population.clients)
    setup = RunSetup(experiment=experiment, run=run, roster=enrolment.roster)
    bench = setup.workbench()
    clients = {
        name: setup.client(name, key=enrolment.keys[name], bench=bench)
        for name in experiment.population.clients
    }
    masked = setup.secure is not None and setup.secure.mode == "masked"
    faults = Dropouts(
        experiment.config.faults, seed=experiment.config.seed, steps=len(STEPS) if masked else 1
    )
    return setup, InProcess(clients, vanishes=faults)


def _unprotected_baseline(setup: RunSetup, progress: Progress) -> Baseline:
    plain, transport = in_one_process(unprotected(setup.experiment), "unprotected")
    execution = Execution(plain, transport, directory=None, progress=progress, strict=True)
    course = execution.run(execution.begin())
    model = plain.experiment.build_model()
    model.load(course.state.params)
    spread = spread_of(metrics_per_client(plain.experiment, model))
    return Baseline(metrics=course.rounds[-1]["metrics"], spread=spread)
