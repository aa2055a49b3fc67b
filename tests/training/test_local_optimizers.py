"""Local optimizers on the flat vector, against torch's own on the separate parameters."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from fedlearn.training import OPTIMIZERS
from fedlearn.training.optimizers import adam, adamw, sgd
from fedlearn.training.vector import FlatModel

Torch = Callable[..., torch.optim.Optimizer]
INPUTS = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))


def small() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


@pytest.mark.parametrize(
    ("ours", "theirs", "momentum", "decay"),
    [
        (sgd, lambda p: torch.optim.SGD(p, lr=0.1), 0.0, 0.0),
        (sgd, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01), 0.9, 0.01),
        (adam, lambda p: torch.optim.Adam(p, lr=0.1), 0.9, 0.0),
        (adam, lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=0.01), 0.0, 0.01),
        (adamw, lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.0), 0.0, 0.0),
        (adamw, lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.01), 0.5, 0.01),
    ],
    ids=["sgd", "sgd-momentum-decay", "adam", "adam-decay", "adamw", "adamw-decay"],
)
def test_one_flat_parameter_moves_like_many(
    ours: Torch, theirs: Torch, momentum: float, decay: float
) -> None:
    model, twin = FlatModel(small()), small()
    flat = nn.Parameter(model.values)
    mine = ours([flat], learning_rate=0.1, momentum=momentum, weight_decay=decay)
    torchs = theirs(twin.parameters())
    for _ in range(5):
        for module in (model.module, twin):
            module.zero_grad(set_to_none=False)
            module(INPUTS).square().mean().backward()
        flat.grad = model.gather_gradient()
        mine.step()
        torchs.step()
    wanted = torch.cat([parameter.detach().reshape(-1) for parameter in twin.parameters()])
    torch.testing.assert_close(model.values, wanted, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_every_optimizer_takes_the_same_arguments_and_descends(name: str) -> None:
    parameter = nn.Parameter(torch.tensor([3.0, -4.0]))
    optimizer = OPTIMIZERS.resolve(name)([parameter], learning_rate=0.05, momentum=0.0, weight_decay=0.0)
    for _ in range(200):
        optimizer.zero_grad()
        torch.autograd.backward(parameter.square().sum())
        optimizer.step()
    assert parameter.detach().norm().item() < 0.5
