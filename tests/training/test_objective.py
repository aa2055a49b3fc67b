"""Losses."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fedlearn.training import LOSSES
from fedlearn.training.objective import SmoothedCrossEntropy, cross_entropy, mean_squared_error, per_record


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


def test_smoothed_labels_mix_the_target_with_all_classes_evenly() -> None:
    """Four classes, a fifth spread: 0.85 on the target and 0.05 on each other one."""
    logits, targets = draw(3, 4), torch.tensor([0, 3, 1])
    wanted = torch.full((3, 4), 0.05)
    wanted[range(3), targets] = 0.85
    by_hand = -(wanted * torch.log_softmax(logits, dim=1)).sum(dim=1)
    loss = SmoothedCrossEntropy(smoothing=0.2)
    torch.testing.assert_close(loss(logits, targets), by_hand.mean())
    torch.testing.assert_close(per_record(loss)(logits, targets), by_hand)


def test_the_smoothed_losses_of_sequences_are_those_of_single_ones() -> None:
    loss, logits, targets = (
        SmoothedCrossEntropy(smoothing=0.1),
        draw(3, 5, 4),
        draw(3, 5, seed=1).abs().long() % 4,
    )
    alone = [loss(one[None], target[None]) for one, target in zip(logits, targets, strict=True)]
    torch.testing.assert_close(per_record(loss)(logits, targets), torch.stack(alone))


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
