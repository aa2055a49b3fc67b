"""Whether a client's training repeats: asked of own code, which may draw numbers that no seed decides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from fedlearn._types import Vector
from fedlearn.config import ExperimentConfig
from fedlearn.experiment.setup import RunSetup
from fedlearn.training.local import LocalTrainer

_STEPS = 2


def repeatability_finding(setup: RunSetup) -> str | None:
    """Returns what a user should know if two trainings of one client differ; None if they are equal.

    Asked after the run, in this process. One client trains two steps twice, without its protection, whose
    noise is secret and never repeats. Only where own objects or parts by import path take part: registered
    ones draw from seeds alone. Not on GPUs, whose sums need not repeat.
    """
    experiment = setup.experiment
    devices = experiment.config.devices
    if devices.names != ("cpu",) or not (experiment.has_objects or any(_own_parts(experiment.config))):
        return None
    clients = experiment.population.clients
    cohort = experiment.cohort(0)
    if not cohort:
        return None
    name = min(cohort, key=lambda client: clients[client].declared_size)
    plan = setup.protections[name].plan
    trainer = LocalTrainer(
        client=name,
        dataset=clients[name].train,
        records=clients[name].size,
        plan=replace(plan, steps=min(plan.steps, _STEPS)),
        bench=setup.workbench(),
        seed=experiment.config.seed,
    )
    try:
        return _difference(trainer, np.concatenate([experiment.initial_params, experiment.initial_constants]))
    except Exception as error:
        # It has trained before: what fails now has changed meanwhile, and the run's result must not be lost.
        return f"client {name!r} trained again after the run raises {type(error).__name__}: {error}"


def _difference(trainer: LocalTrainer, params: Vector) -> str | None:
    one, other = (trainer.train(params, round=0) for _ in range(2))
    if np.array_equal(one, other):
        return None
    return (
        f"client {trainer.client!r} trained twice on the same records gives two updates (apart by up to"
        f" {np.abs(one - other).max():.1e}): own code draws numbers that no seed decides, and this run will"
        " not repeat; draw from torch's generator, which is seeded for each client and round"
    )


def _own_parts(config: ExperimentConfig) -> Iterator[str]:
    """Yields the parts that the configuration names by import path and that take part in training."""
    named = (config.model.name, config.data.dataset or "", config.training.loss, config.training.optimizer)
    yield from (name for name in named if ":" in name)
