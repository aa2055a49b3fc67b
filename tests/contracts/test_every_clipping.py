"""Every way to clip, on every registered model: as Opacus to 1e-5, as one record at a time to 1e-6."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import Tensor, nn

from fedlearn.models import MODELS
from fedlearn.training.clipping import Clipping
from fedlearn.training.objective import cross_entropy, mean_squared_error, per_record
from fedlearn.training.private import clip_of

SHAPES = {"tanh-cnn": (1, 28, 28), "cnn": (1, 12, 12), "resnet-gn": (3, 8, 8)}
RECORDS, CLASSES = 6, 11


def built(name: str) -> nn.Module:
    torch.manual_seed(0)
    module: nn.Module = MODELS.build(name, {}, shape=SHAPES.get(name, (9,)), classes=CLASSES)
    return module


def drawn(name: str) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    shape = (RECORDS, *SHAPES.get(name, (9,)))
    tokens = "vocabulary" in inspect.signature(MODELS.resolve(name)).parameters
    inputs = torch.randint(0, CLASSES, shape) if tokens else torch.randn(shape)
    reconstructs = getattr(built(name), "output", "logits") == "reconstruction"
    return inputs, inputs.flatten(1) if reconstructs else torch.randint(0, CLASSES, (RECORDS,))


def clipped_sum(name: str, way: Clipping, inputs: Tensor, targets: Tensor, bound: float) -> Tensor:
    module = built(name)
    sums: dict[Tensor, Tensor] = {p: torch.zeros_like(p, requires_grad=False) for p in module.parameters()}
    losses = per_record(mean_squared_error if targets.is_floating_point() else cross_entropy)
    clip_of(module, way).add_clipped_sum(sums, losses, inputs, targets, bound)
    return torch.cat([total.flatten() for total in sums.values()]).double()


def one_at_a_time(name: str, inputs: Tensor, targets: Tensor, bound: float) -> Tensor:
    module, total = built(name), torch.zeros(())
    loss = mean_squared_error if targets.is_floating_point() else cross_entropy
    for record in range(RECORDS):
        one = slice(record, record + 1)
        parts = torch.autograd.grad(loss(module(inputs[one]), targets[one]), list(module.parameters()))
        gradient = torch.cat([part.flatten() for part in parts]).double()
        total = total + gradient * min(1.0, bound / float(gradient.norm()))
    return total


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("bound", [1e-2, 1e4])
def test_every_way_of_clipping_agrees(name: str, bound: float) -> None:
    inputs, targets = drawn(name)
    exact = one_at_a_time(name, inputs, targets, bound)
    opacus = clipped_sum(name, "hooks", inputs, targets, bound)
    for way in ("auto", "fast", "ghost"):
        found = clipped_sum(name, way, inputs, targets, bound)
        assert (found - opacus).norm() <= 1e-5 * opacus.norm(), way
        assert (found - exact).norm() <= 1e-6 * exact.norm(), way
