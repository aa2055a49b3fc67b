"""What the federated model is compared with: alone, unprotected, pooled."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from fedlearn.experiment import Experiment
from fedlearn.experiment.enrolment import Enrolment
from fedlearn.experiment.personal import trained_alone, workbench_alone
from fedlearn.experiment.setup import RunSetup
from fedlearn.rounds.memory_folder import FolderMemory
from fedlearn.runs.assessment import metrics_of_clients, metrics_on, metrics_per_client, spread_of
from fedlearn.runs.execution import Execution
from fedlearn.runs.progress import Labelled, Progress, RoundReport
from fedlearn.runs.result import Baseline, Baselines, Metrics
from fedlearn.runs.summary import absent
from fedlearn.simulation.engine import Engine


def baselines_of(
    experiment: Experiment, progress: Progress, *, under_ledger: bool, workers: int | None = None
) -> Baselines:
    """Returns the comparisons; none where a ledger covers the records, as they are trained without DP."""
    if not under_ledger:
        return compute_baselines(experiment, progress, workers=workers)
    none = absent("not computed under a ledger: they are trained without privacy, which no budget covers")
    return Baselines(local=none, unprotected=none, pooled=none)


def compute_baselines(experiment: Experiment, progress: Progress, *, workers: int | None = None) -> Baselines:
    """Returns the comparisons that the experiment asks for; the others say why they are absent.

    Args:
      experiment: what is compared with.
      progress: watches.
      workers: number of worker processes for the federation without protection.
    """
    computed: dict[str, Baseline] = {}
    for name, compute in (
        ("local", local_baseline),
        ("unprotected", partial(unprotected_baseline, workers=workers)),
        ("pooled", pooled_baseline),
    ):
        if not getattr(experiment.config.baselines, name):
            computed[name] = absent(f"not asked for: baselines.{name} = true computes it")
        elif experiment.config.tasks and name != "unprotected":
            computed[name] = absent("clients have different tasks: no one model to compare with")
        elif experiment.population.test is None and not experiment.config.tasks:
            computed[name] = absent("there is no held-out test set")
        else:
            computed[name] = compute(experiment, progress)
    return Baselines(**computed)


def unprotected(experiment: Experiment) -> Experiment:
    """Returns the same experiment without privacy, secure aggregation, injected faults or slow machines."""
    cohort = experiment.config.cohort.model_copy(update={"over_selection": 1.0})
    remedies = experiment.config.remedies.model_dump()
    remedies["synthesis"]["unprotected"] = True
    config = experiment.config.with_settings(
        remedies=remedies,
        privacy={"enabled": False},
        secure_aggregation={"enabled": False},
        faults={},
        fleet={},
        asynchronous={},
        cohort=cohort.model_dump(),
    )
    return replace(experiment, config=config, fleet=None)


def unprotected_baseline(
    experiment: Experiment, progress: Progress, *, workers: int | None = None
) -> Baseline:
    """The same federation without any protection."""
    plain = unprotected(experiment)
    enrolment = Enrolment.needed_by(plain.config, plain.population)
    watch = Labelled(progress, "unprotected")
    with TemporaryDirectory() as folder:
        setup = RunSetup(
            experiment=plain,
            run="unprotected",
            roster=enrolment.roster,
            memory=FolderMemory(Path(folder), durable=False),
        )
        with Engine(setup, enrolment, workers=workers) as engine:
            execution = Execution(setup, engine, directory=None, progress=watch, strict=True)
            course = execution.run(execution.begin())
        own = metrics_of_clients(setup, plain.build_model(), course.model, completed=course.completed)
    return Baseline(metrics=course.rounds[-1]["metrics"], spread=spread_of(own), own=mean_of(own.values()))


def local_baseline(experiment: Experiment, progress: Progress) -> Baseline:
    """Each client alone: as many rounds on its own records, without protection.

    Returns:
      The mean over the clients' models on the common test set; mean and spread of each model on its own
      client's held-out records.
    """
    bench = workbench_alone(experiment)
    clients = experiment.population.clients
    progress.begin("local only", len(clients))
    on_common, on_own = [], {}
    for done, (name, data) in enumerate(clients.items(), start=1):
        bench.model.load(trained_alone(experiment, bench, name, data.everything))
        on_common.append(metrics_on(experiment, bench.model, experiment.population.test))
        if data.test is not None:
            on_own[name] = metrics_on(experiment, bench.model, data.test)
        progress.round_done(RoundReport(round=done, rounds=len(clients), metrics={}, survivors=1))
    progress.end()
    return Baseline(metrics=mean_of(on_common), spread=spread_of(on_own), own=mean_of(on_own.values()))


def pooled_baseline(experiment: Experiment, progress: Progress) -> Baseline:
    """All records in one place, as many rounds, without protection: what federation gives up."""
    bench = workbench_alone(experiment)
    progress.begin("pooled", 1)
    bench.model.load(trained_alone(experiment, bench, "pooled", experiment.population.pooled()))
    metrics = metrics_on(experiment, bench.model, experiment.population.test)
    progress.end()
    by_client = metrics_per_client(experiment, bench.model)
    return Baseline(metrics=metrics, spread=spread_of(by_client), own=mean_of(by_client.values()))


def mean_of(entries: Iterable[Metrics]) -> Metrics:
    """Returns the mean of each metric over the entries where it is defined; empty without entries."""
    found = list(entries)
    means: Metrics = {}
    for metric in dict.fromkeys(metric for entry in found for metric in entry):
        values = [value for entry in found if (value := entry.get(metric)) is not None]
        means[metric] = float(np.mean(values)) if values else None
    return means
