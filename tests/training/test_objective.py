"""Losses and FedProx' proximal gradient."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fedlearn.training import LOSSES
from fedlearn.training.objective import add_proximal_gradient, cross_entropy, mean_squared_error


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_cross_entropy_of_equal_logits_is_the_log_of_the_classes() -> None:
    assert cross_entropy(torch.zeros(5, 4), torch.tensor([0, 1, 2, 3, 0])).item() == pytest.approx(
        math.log(4)
    )


def test_cross_entropy_hand_answer() -> None:
    """Odds of 3 to 1, once right and once wrong."""
    logits = torch.tensor([[0.0, math.log(3)], [0.0, math.log(3)]])
    wanted = -(math.log(3 / 4) + math.log(1 / 4)) / 2
    assert cross_entropy(logits, torch.tensor([1, 0])).item() == pytest.approx(wanted)


def test_a_sequence_s_loss_is_the_mean_over_records_and_places() -> None:
    logits = draw(3, 5, 4)
    targets = draw(3, 5, seed=1).abs().long() % 4
    wanted = torch.stack([cross_entropy(one, target) for one, target in zip(logits, targets, strict=True)])
    torch.testing.assert_close(cross_entropy(logits, targets), wanted.mean())


def test_mean_squared_error_takes_integer_targets_and_their_shape() -> None:
    outputs = torch.tensor([[1.0], [2.0], [4.0]])
    assert mean_squared_error(outputs, torch.tensor([1, 1, 1])).item() == pytest.approx((0 + 1 + 9) / 3)


def test_mean_squared_error_never_broadcasts() -> None:
    with pytest.raises(RuntimeError, match="invalid for input of size"):
        mean_squared_error(torch.zeros(3, 2), torch.zeros(3))


@pytest.mark.parametrize("name", list(LOSSES))
def test_every_loss_is_a_mean_over_records(name: str) -> None:
    """Twice the same records: the same loss, so that it neither sums nor looks across records."""
    loss = LOSSES.resolve(name)
    outputs = draw(4, 3)
    targets = torch.tensor([0, 2, 1, 1]) if name == "cross-entropy" else draw(4, 3, seed=1)
    once, twice = (
        loss(outputs, targets),
        loss(outputs.repeat(2, 1), targets.repeat(2, *[1] * (targets.ndim - 1))),
    )
    assert once.shape == ()
    torch.testing.assert_close(once, twice)


@pytest.mark.parametrize("mu", [0.0, 0.01, 1.0, 10.0])
def test_the_proximal_gradient_is_autograd_s_of_half_mu_squared_distance(mu: float) -> None:
    params = draw(20).requires_grad_()
    anchor, before = draw(20, seed=1), draw(20, seed=2)
    (wanted,) = torch.autograd.grad(mu / 2 * (params - anchor).square().sum(), params)
    gradient = before.clone()
    add_proximal_gradient(gradient, params.detach(), anchor, mu)
    torch.testing.assert_close(gradient, before + wanted)


def test_at_the_anchor_nothing_pulls() -> None:
    params, gradient = draw(20), torch.zeros(20)
    add_proximal_gradient(gradient, params, params.clone(), 3.0)
    assert not gradient.count_nonzero()
