"""Validation-gated personalisation: each client keeps the model that its own validation records favour.

Three candidates: the federated model, a personal one (fine-tuned from it, or Ditto's), and one that was
trained on the client's records alone. Each is judged by its mean loss over records that none of them was
trained on: those that a client of the federation set aside, or, for one that took no part, all of its records
by cross-validation. A model that is kept may then learn from these records, too, by the same recipe.

Guarantee: nothing of it leaves a client: neither a model nor a loss nor the choice. It spends no ε towards
server, other clients or whoever gets the federated model; that one is only read. Towards someone whom a
client gives its own model nothing is promised.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch

from fedlearn._types import Vector
from fedlearn.experiment.personal import (
    fine_tuned,
    personal_workbench,
    shelf_of,
    trained_alone,
    workbench_alone,
)
from fedlearn.experiment.population import ClientData
from fedlearn.experiment.reserved import Fold, folds
from fedlearn.experiment.setup import RunSetup
from fedlearn.rounds.checkpoint import Checkpoint
from fedlearn.runs.assessment import metrics_on, weighted_mean
from fedlearn.runs.directory import RunDirectory
from fedlearn.runs.progress import Labelled, Progress, RoundReport
from fedlearn.runs.result import Metrics, OwnModel, Personalisation
from fedlearn.runs.stages import first_state
from fedlearn.training.batches import RecordSet, fetch, size_of
from fedlearn.training.ditto import MODEL
from fedlearn.training.local import Workbench
from fedlearn.training.vector import FlatModel

Candidate = Literal["global", "personal", "local"]
_CHUNK = 1024


def own_models_of(
    setup: RunSetup, directory: RunDirectory, progress: Progress, *, under_ledger: bool
) -> Personalisation | None:
    """Returns what the clients of a finished run end with; None if it was not asked for.

    Args:
      setup: the run.
      directory: its directory, with the last checkpoint.
      progress: watches.
      under_ledger: whether a ledger covers the records: figures of models without privacy are then
        not computed, as no budget covers them.
    """
    wanted = setup.experiment.config.personalisation
    if not wanted.enabled:
        return None
    if under_ledger:
        reason = (
            "not computed under a ledger: its figures are of models without privacy, which no budget covers"
        )
        return Personalisation(method=wanted.method, reason=reason)
    keep = directory.write_model if wanted.keep_models else _kept_by_nobody
    return _Personalising(setup, Checkpoint.load(directory.checkpoint_path), keep).result(
        Labelled(progress, "personalisation")
    )


def _kept_by_nobody(state: Mapping[str, torch.Tensor], client: str) -> None:
    """Takes a client's own model and forgets it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Maker:
    """How one candidate comes about.

    Attributes:
      name: which it is.
      model: from records to the model, with its constants behind it.
    """

    name: Candidate
    model: Callable[[RecordSet], Vector]


class _Personalising:
    """The clients' own models after a run."""

    def __init__(
        self,
        setup: RunSetup,
        checkpoint: Checkpoint,
        keep: Callable[[Mapping[str, torch.Tensor], str], None],
    ) -> None:
        self._setup = setup
        self._keep = keep
        self._experiment = setup.experiment
        self._completed = checkpoint.rounds
        constants = checkpoint.record.get("constants") or []
        params = first_state(checkpoint.arrays).params
        self._vector = np.concatenate([params, np.array(constants, dtype=np.float32)])

    def result(self, progress: Progress) -> Personalisation:
        population = self._experiment.population
        everyone = {**population.clients, **population.unseen}
        progress.begin("personalisation", len(everyone))
        own: dict[str, OwnModel] = {}
        for done, (name, data) in enumerate(everyone.items(), start=1):
            model = self._own(name, data)
            if model is not None:
                own[name] = model
            progress.round_done(RoundReport(round=done, rounds=len(everyone), metrics={}, survivors=1))
        progress.end()
        seen = {name: model for name, model in own.items() if name in population.clients}
        unseen = {name: model for name, model in own.items() if name in population.unseen}
        return Personalisation(
            method=self._experiment.config.personalisation.method,
            clients=seen,
            unseen=unseen,
            means=_means(seen),
            unseen_means=_means(unseen),
        )

    @cached_property
    def _tuning(self) -> Workbench:
        return personal_workbench(self._experiment)

    @cached_property
    def _alone(self) -> Workbench:
        return workbench_alone(self._experiment)

    def _own(self, name: str, data: ClientData) -> OwnModel | None:
        """Returns what a client ends with; None if there are no records to measure it on."""
        records = data.test if data.test is not None else self._experiment.population.test
        if records is None:
            return None
        candidates = self._candidates(name)
        kept = self._favoured(candidates, self._splits(name, data))
        final = {candidate.name: candidate.model(data.everything) for candidate in candidates}
        metrics = {which: self._measured(model, records) for which, model in final.items()}
        self._alone.model.load(final[kept])
        self._keep(self._experiment.whole_state(self._alone.model), name)
        return OwnModel(
            kept=kept,
            global_=metrics["global"],
            personal=metrics["personal"],
            local=metrics["local"],
            own=metrics[kept],
            records=size_of(records, client=name),
        )

    def _candidates(self, name: str) -> tuple[_Maker, ...]:
        federated = self._setup.kept.models(self._vector, completed=self._completed)(name)
        return (
            _Maker(name="global", model=lambda records: federated),
            _Maker(name="personal", model=lambda records: self._personal(name, federated, records)),
            _Maker(
                name="local",
                model=lambda records: trained_alone(self._experiment, self._alone, name, records),
            ),
        )

    def _personal(self, name: str, federated: Vector, records: RecordSet) -> Vector:
        """Returns the fine-tuned model, or Ditto's; one that took no part in rounds is fine-tuned."""
        if self._experiment.config.personalisation.method == "ditto":
            own = shelf_of(name, self._setup.memory).recall(before=self._completed).get(MODEL)
            if own is not None:
                return np.concatenate([own, federated[len(own) :]])
        return fine_tuned(self._experiment, self._tuning, name, federated, records)

    def _splits(self, name: str, data: ClientData) -> list[Fold]:
        """Returns what the choice is made on; nothing where there is no record to spare.

        The federated model was trained on what a client of the federation did not set aside, so that only the
        rest can judge it. Of a stranger it has seen nothing: all of its records judge, in turn.
        """
        if name in self._experiment.population.unseen:
            return folds(name, data, self._experiment.config)
        return [] if data.validation is None else [Fold(train=data.train, validation=data.validation)]

    def _favoured(self, candidates: tuple[_Maker, ...], splits: list[Fold]) -> Candidate:
        """Returns the candidate of the least loss over the validation records; the global one without any."""
        losses = {
            candidate.name: math.fsum(
                self._loss(candidate.model(split.train), split.validation)
                * size_of(split.validation, client="validation")
                for split in splits
            )
            for candidate in candidates
        }
        return min(losses, key=losses.__getitem__)

    def _loss(self, model: Vector, records: RecordSet) -> float:
        self._alone.model.load(model)
        return mean_loss(self._alone, records)

    def _measured(self, model: Vector, records: RecordSet) -> Metrics:
        flat: FlatModel = self._alone.model
        flat.load(model)
        return metrics_on(self._experiment, flat, records)


@torch.no_grad()
def mean_loss(bench: Workbench, records: RecordSet) -> float:
    """Returns the mean loss of the model on a workbench over some records; infinite if it is not finite."""
    module, count = bench.model.module, size_of(records, client="validation")
    module.eval()
    total = 0.0
    for start in range(0, count, _CHUNK):
        indices = np.arange(start, min(start + _CHUNK, count))
        inputs, targets = fetch(records, indices, bench.model.device)
        total += float(bench.recipe.loss(module(inputs), targets)) * len(indices)
    return total / count if np.isfinite(total) else float("inf")


def _means(models: Mapping[str, OwnModel]) -> dict[str, Metrics]:
    if not models:
        return {}
    sizes = [float(model.records) for model in models.values()]
    return {
        "global": weighted_mean([model.global_ for model in models.values()], sizes),
        "personal": weighted_mean([model.personal for model in models.values()], sizes),
        "local": weighted_mean([model.local for model in models.values()], sizes),
        "own": weighted_mean([model.own for model in models.values()], sizes),
    }
