"""Models of a client's own: trained alone, fine-tuned from the global one, or beside it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fedlearn._types import Vector
from fedlearn.experiment.experiment import Experiment
from fedlearn.experiment.statistics import constants_of, is_federated
from fedlearn.remedies.penalties.penalty import Penalty
from fedlearn.remedies.penalties.proximal import Proximal
from fedlearn.training.batches import RecordSet, StepPlan, size_of
from fedlearn.training.ditto import DittoTrainer, Federated
from fedlearn.training.local import LocalTrainer, Recipe, Workbench
from fedlearn.training.memory import Memory, Shelf
from fedlearn.training.released import MomentSum
from fedlearn.training.schedules import constant

_PART = "personal"


def shelf_of(client: str, memory: Memory) -> Shelf:
    """Returns where a client keeps its personal model."""
    return Shelf(memory=memory, client=client, part=_PART)


def personal_workbench(experiment: Experiment) -> Workbench:
    """Returns a workbench for personal models: at their learning rate, pulled by λ if they are Ditto's."""
    wanted, recipe = experiment.config.personalisation, experiment.recipe
    rate = wanted.learning_rate or recipe.learning_rate
    if wanted.method == "ditto":
        pull = (Proximal(strength=wanted.strength),) if wanted.strength > 0 else ()
        recipe = replace(recipe, learning_rate=rate, penalties=_unpulled(recipe) + pull)
    else:
        recipe = replace(recipe, learning_rate=rate, penalties=_unpulled(recipe), schedule=constant)
    return Workbench(experiment.build_model(), recipe, device=experiment.workbench().device)


def workbench_alone(experiment: Experiment) -> Workbench:
    """Returns a workbench for clients that train alone: nothing pulls them anywhere."""
    bench = experiment.workbench()
    bench.recipe = replace(bench.recipe, penalties=_unpulled(bench.recipe))
    return bench


def _unpulled(recipe: Recipe) -> tuple[Penalty, ...]:
    """Returns the recipe's penalties without pulls towards a global model."""
    return tuple(penalty for penalty in recipe.penalties if not isinstance(penalty, Proximal))


def ditto_trainer(
    federated: Federated,
    experiment: Experiment,
    client: str,
    *,
    plan: StepPlan,
    bench: Workbench,
    memory: Memory,
) -> DittoTrainer:
    """Returns a client's trainer with its personal model beside it.

    Args:
      federated: makes its update.
      experiment: the experiment.
      client: the client.
      plan: the steps of a round, of both models.
      bench: where the personal model is trained.
      memory: where it is kept.
    """
    data = experiment.population.clients[client]
    return DittoTrainer(
        federated=federated,
        personal=_trainer(experiment, bench, client, data.train, plan=plan),
        constants=experiment.initial_constants.size,
        shelf=shelf_of(client, memory),
    )


def fine_tuned(
    experiment: Experiment, bench: Workbench, client: str, model: Vector, records: RecordSet
) -> Vector:
    """Returns a model after ``personalisation.epochs`` passes over a client's records.

    Args:
      experiment: the experiment.
      bench: of :func:`personal_workbench`.
      client: the client.
      model: to start from, with its constants behind it.
      records: what it is trained on.
    """
    training = experiment.config.training.model_copy(
        update={"epochs": experiment.config.personalisation.epochs, "local_steps": None}
    )
    plan = StepPlan.of(training, declared_size=size_of(records, client=client))
    trainer = _trainer(experiment, bench, client, records, plan=plan)
    tuned, d = model.copy(), bench.model.dimension
    # A round of its own, so that batches are drawn that no round of the federation had.
    tuned[:d] += trainer.train(model, round=experiment.config.rounds)
    return tuned


def trained_alone(experiment: Experiment, bench: Workbench, client: str, records: RecordSet) -> Vector:
    """Returns the parameters, and constants behind them, after all rounds on one set of records."""
    size = size_of(records, client=client)
    plan = StepPlan.of(experiment.config.training, declared_size=size)
    trainer = _trainer(experiment, bench, client, records, plan=plan)
    params = experiment.initial_params.copy()
    constants = _constants_alone(experiment, records, size)
    for round in range(experiment.config.rounds):
        params += trainer.train(np.concatenate([params, constants]), round=round)
    return np.concatenate([params, constants])


def _trainer(
    experiment: Experiment, bench: Workbench, client: str, records: RecordSet, *, plan: StepPlan
) -> LocalTrainer:
    return LocalTrainer(
        client=client,
        dataset=records,
        records=size_of(records, client=client),
        plan=plan,
        bench=bench,
        seed=experiment.config.seed,
    )


def _constants_alone(experiment: Experiment, records: RecordSet, size: int) -> Vector:
    """Returns the constants that these records alone give, if the experiment standardises by all together."""
    if not is_federated(experiment.config):
        return np.zeros(0, dtype=np.float32)
    moments = MomentSum(dataset=records, records=size, bound=None, divisor=size)
    return constants_of(moments.train(experiment.initial_params, round=0).astype(np.float32))
