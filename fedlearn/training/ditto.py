"""Ditto: a personal model beside the federated one, pulled towards it (Li et al. 2021, Algorithm 1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from fedlearn._types import Vector
from fedlearn.training.local import LocalTrainer
from fedlearn.training.memory import Shelf

MODEL = "model"
"""The slot of the personal model."""


class Federated(Protocol):
    """Training for the federation."""

    def train(self, params: Vector, *, round: int) -> Vector:
        """Returns what the client sends."""


@dataclass(frozen=True, kw_only=True)
class DittoTrainer:
    """Trains for the federation, and beside it v ← v − η·(∇loss(v) + λ·(v − global)).

    Guarantee: the personal model feeds no update, now or later, and nothing of it travels. It is trained
    without noise and costs no ε towards anyone but those whom the client gives it to; towards them
    nothing is promised.

    Attributes:
      federated: makes the update.
      personal: trains the personal model, without privacy; its recipe's ``proximal`` is λ.
      constants: number of constants at the end of what is received.
      shelf: where the personal model is kept.
    """

    federated: Federated
    personal: LocalTrainer
    constants: int = 0
    shelf: Shelf = field(repr=False)

    def train(self, params: Vector, *, round: int) -> Vector:
        """Returns the update of the federated model; the personal one moves on beside it."""
        update = self.federated.train(params, round=round)
        shared = params[: self.personal.bench.model.dimension]
        own = self.shelf.recall(before=round).get(MODEL, shared)
        behind = params[len(params) - self.constants :]
        moved = self.personal.train(np.concatenate([own, behind]), round=round, anchor=shared)
        self.shelf.keep(round=round, slots={MODEL: own + moved})
        return update
