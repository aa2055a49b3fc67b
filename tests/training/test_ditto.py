"""Ditto in closed form: the personal model lies between the client's optimum and the global model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from fedlearn._types import Vector
from fedlearn.remedies.penalties.proximal import Proximal
from fedlearn.training.batches import StepPlan
from fedlearn.training.ditto import MODEL, DittoTrainer
from fedlearn.training.local import LocalTrainer, Recipe, Workbench
from fedlearn.training.memory import HeldMemory, Shelf
from fedlearn.training.optimizers import sgd
from fedlearn.training.schedules import constant
from fedlearn.training.vector import FlatModel

TARGET, GLOBAL = 3.0, np.array([1.0], np.float32)


class Constant(nn.Module):
    """A model of one number, which it says of every record: its loss (w − target)²/2 has curvature 1."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(1))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.value.expand(len(inputs), 1)


def half_squares(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (outputs - targets).square().mean() / 2


class Still:
    """A federated trainer whose update is known, and who counts how often it was asked."""

    def train(self, params: Vector, *, round: int) -> Vector:
        return np.full(1, float(round), np.float32)


def trainer(strength: float, memory: HeldMemory, *, rate: float = 0.1, steps: int = 5) -> DittoTrainer:
    recipe = Recipe(
        optimizer=sgd,
        learning_rate=rate,
        momentum=0.0,
        weight_decay=0.0,
        schedule=constant,
        rounds=10,
        loss=half_squares,
        penalties=(Proximal(strength=strength),) if strength else (),
    )
    personal = LocalTrainer(
        client="a",
        dataset=TensorDataset(torch.zeros(4, 1), torch.full((4, 1), TARGET)),
        records=4,
        plan=StepPlan(steps=steps, sample_rate=1.0),
        bench=Workbench(FlatModel(Constant()), recipe),
        seed=0,
    )
    return DittoTrainer(
        federated=Still(), personal=personal, shelf=Shelf(memory=memory, client="a", part="personal")
    )


def personal_after(strength: float, rounds: int) -> float:
    memory = HeldMemory()
    made = trainer(strength, memory)
    for round in range(rounds):
        made.train(GLOBAL, round=round)
    return float(made.shelf.recall(before=rounds)[MODEL][0])


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0, 4.0])
def test_it_settles_at_the_weighted_mean_of_both(strength: float) -> None:
    """argmin (v − target)²/2 + λ/2·(v − global)² = (target + λ·global) / (1 + λ)."""
    expected = (TARGET + strength * float(GLOBAL[0])) / (1.0 + strength)
    assert personal_after(strength, rounds=60) == pytest.approx(expected, abs=1e-4)


def test_one_round_is_that_many_steps_from_the_global_model() -> None:
    """v ← v − η((v − 3) + λ(v − 1)): after K steps (v − v*) has shrunk by (1 − η(1 + λ))^K."""
    settled, shrunk = (3.0 + 0.5) / 1.5, (1.0 - 0.1 * 1.5) ** 5
    assert personal_after(0.5, rounds=1) == pytest.approx(settled + shrunk * (1.0 - settled), abs=1e-5)


def test_the_update_is_the_federated_trainers_and_the_personal_model_stays() -> None:
    made = trainer(1.0, HeldMemory())
    np.testing.assert_array_equal(made.train(GLOBAL, round=3), [3.0])


def test_a_round_that_is_done_again_gives_the_same_personal_model() -> None:
    memory = HeldMemory()
    made = trainer(1.0, memory)
    made.train(GLOBAL, round=0)
    made.train(GLOBAL, round=1)
    first = made.shelf.recall(before=2)[MODEL].tobytes()
    made.train(GLOBAL, round=1)
    assert made.shelf.recall(before=2)[MODEL].tobytes() == first
