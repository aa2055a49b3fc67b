"""A client that keeps something between rounds: control variates, layers of its own, or both.

Guarantee: whatever a later update depends on follows from the steps of local training. Under record-level
DP each of these is noised over the whole model, layers that stay included, so that all of it is one
adaptive composition of the steps that are charged, and what is kept is post-processing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fedlearn._types import Vector
from fedlearn.algorithms.local_rule import LocalRule, LocalWork
from fedlearn.training.local import LocalTrainer
from fedlearn.training.memory import Shelf, Slots
from fedlearn.training.split import Split

LAYERS = "layers"
"""The slot of what stays of the model; others are the algorithm's."""


@dataclass(frozen=True, kw_only=True)
class KeepingTrainer:
    """Local training with an algorithm's rule around it, on a model of which a part may stay here.

    Attributes:
      trainer: trains the whole model.
      rule: the algorithm's part at its clients, on the coordinates that travel.
      split: which coordinates these are.
      initial: the coordinates that stay, before the client's first round.
      shelf: where it keeps.
    """

    trainer: LocalTrainer
    rule: LocalRule
    split: Split = field(repr=False)
    initial: Vector = field(repr=False)
    shelf: Shelf

    def train(self, params: Vector, *, round: int) -> Vector:
        """Returns what the client sends, shape (sent · d,), float32.

        Args:
          params: the global vector (d,), the vectors that the rule receives, each (d,), and the constants
            that the model carries, if any.
          round: round, counted from 0.
        """
        d, recipe = self.split.shared, self.trainer.bench.recipe
        vectors = 1 + len(self.rule.received)
        shared, *received = np.split(params[: vectors * d], vectors)
        kept = self.shelf.recall(before=round)
        local = kept.get(LAYERS, self.initial)
        offset = self.rule.offset(received, kept, unit_rate=recipe.learning_rate)
        update = self.trainer.train(
            np.concatenate([self.split.joined(shared, local), params[vectors * d :]]),
            round=round,
            offset=None if offset is None else self.split.joined(offset, np.zeros_like(local)),
        )
        work = LocalWork(
            steps=self.trainer.plan.steps,
            learning_rate=recipe.learning_rate_of(round),
            unit_rate=recipe.learning_rate,
        )
        outcome = self.rule.finish(self.split.shared_of(update), received, kept, work)
        self.shelf.keep(round=round, slots={**outcome.kept, **self._layers(local, update)})
        return np.concatenate(outcome.sent)

    def _layers(self, local: Vector, update: Vector) -> Slots:
        return {LAYERS: local + self.split.local_of(update)} if self.split.names else {}
