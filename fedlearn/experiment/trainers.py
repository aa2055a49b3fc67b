"""What a client of a run trains with: its records, its protection, and all that surrounds a step."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fedlearn.experiment.kept import trains_personal_models
from fedlearn.experiment.personal import ditto_trainer
from fedlearn.experiment.population import ClientData
from fedlearn.experiment.randomness import noise_of
from fedlearn.experiment.synthesis import added_records
from fedlearn.rounds.client import Trainer
from fedlearn.rounds.compression import CompressedTrainer, Training
from fedlearn.rounds.protection import Protection
from fedlearn.training.batches import Deferred
from fedlearn.training.local import LocalTrainer, Workbench
from fedlearn.training.memory import Shelf
from fedlearn.training.released import GradientSum
from fedlearn.training.synthetic import SyntheticBeside, WithSynthetic

if TYPE_CHECKING:
    from fedlearn.experiment.setup import RunSetup


def trainer_of(setup: RunSetup, name: str, protection: Protection, bench: Workbench) -> Trainer:
    """Returns a client's training in a run.

    Args:
      setup: the run.
      name: the client's id.
      protection: its protection in the rounds of training.
      bench: the workbench it trains on.
    """
    data = setup.experiment.population.clients[name]
    if setup.synthesis is None:
        return _compressed(setup, name, _training(setup, name, protection, bench, data))
    added, seed = added_records(setup.experiment.config), setup.experiment.config.seed
    generator = setup.synthesis.own_bench.model
    source = SyntheticBeside(data.train, generator, records=added, seed=(seed, 7, *name.encode()))
    size = data.size + added
    beside = replace(data, train=Deferred(name, source.records, size), size=size)
    trainer = _compressed(setup, name, _training(setup, name, protection, bench, beside))
    return WithSynthetic(trainer=trainer, source=source, length=setup.generator_length)


def _compressed(setup: RunSetup, name: str, trainer: Training) -> Trainer:
    if setup.compression is None:
        return trainer
    return CompressedTrainer(
        trainer=trainer,
        compression=setup.compression,
        client=name,
        seed=setup.experiment.config.seed,
        shelf=Shelf(memory=setup.memory, client=name, part="compression"),
    )


def _training(
    setup: RunSetup, name: str, protection: Protection, bench: Workbench, data: ClientData
) -> Training:
    federated = _federated(setup, name, protection, bench, data)
    if not trains_personal_models(setup.experiment.config):
        return federated
    return ditto_trainer(
        federated,
        setup.experiment,
        name,
        plan=protection.plan,
        bench=setup.personal_bench,
        memory=setup.memory,
    )


def _federated(
    setup: RunSetup, name: str, protection: Protection, bench: Workbench, data: ClientData
) -> Training:
    config, bench = setup.experiment.config, setup.bench_of(name, bench)
    if protection.shared is not None and protection.record is not None:
        return GradientSum(
            dataset=data.train,
            records=data.size,
            bench=bench,
            privacy=protection.record,
            coins=noise_of(config, setup.run, name, "sample"),
        )
    trainer = LocalTrainer(
        client=name,
        dataset=data.train,
        records=data.size,
        plan=protection.plan,
        bench=bench,
        seed=config.seed,
        privacy=protection.record,
        noise=noise_of(config, setup.run, name),
    )
    kept = setup.experiment.part_of(name).kept(setup.memory)
    return kept.trainer(trainer) if kept.any else trainer
