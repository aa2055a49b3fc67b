"""Losses over views: what is averaged, what is mixed, and what a record may do to a clipped sum."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fedlearn.remedies.augmentation import Augmentations
from fedlearn.remedies.augmentations.mixup import Mixup
from fedlearn.remedies.augmentations.noise import Noise
from fedlearn.training.augmented import mean_loss
from fedlearn.training.clipping import Clipping
from fedlearn.training.objective import SmoothedCrossEntropy, cross_entropy
from fedlearn.training.private import PrivateGradient
from fedlearn.training.vector import FlatModel

WAYS: list[Clipping] = ["auto", "fast", "hooks", "ghost"]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def own_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """One that no rule knows."""
    return cross_entropy(outputs, targets)


def network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 3, 3, padding=1),
            nn.GroupNorm(1, 3),
            nn.Flatten(),
            nn.Linear(48, 6),
            nn.Tanh(),
            nn.Linear(6, 3),
        )


def clipped_one_at_a_time(module: nn.Module, views: Tensor, targets: Tensor, bound: float) -> Tensor:
    """The definition: of each record the gradient of its mean loss over views, clipped, then added."""
    total = torch.zeros(sum(p.numel() for p in module.parameters()))
    for record, target in zip(views, targets, strict=True):
        loss = cross_entropy(module(record), target.expand(len(record)))
        gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(module.parameters()))])
        total += gradient * min(1.0, bound / gradient.norm().item())
    return total


@pytest.mark.parametrize("clipping", WAYS)
@pytest.mark.parametrize("bound", [0.01, 0.5, 100.0])
def test_views_are_averaged_before_they_are_clipped(clipping: Clipping, bound: float) -> None:
    module, views, targets = network(), draw(7, 4, 1, 4, 4), torch.tensor([0, 1, 2, 0, 1, 2, 0])
    wanted = clipped_one_at_a_time(module, views, targets, bound)
    gradient = PrivateGradient(FlatModel(module), cross_entropy, clipping=clipping, views=4)
    found = gradient.clipped_sum(views, targets, max_grad_norm=bound)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5 * bound)


@settings(max_examples=25)
@given(st.integers(0, 2**20), st.sampled_from(WAYS), st.floats(1e-3, 1e3), st.sampled_from([0.0, 1.0, 1e30]))
def test_a_record_moves_the_sum_by_the_bound_at_most(
    seed: int, clipping: Clipping, bound: float, size: float
) -> None:
    """However large it is, and however many views it has."""
    views, targets = draw(3, 2, 1, 4, 4, seed=seed), torch.tensor([0, 1, 2])
    views[1] *= size
    gradient = PrivateGradient(FlatModel(network()), cross_entropy, clipping=clipping, views=2)
    kept = [0, 2]
    whole = gradient.clipped_sum(views, targets, max_grad_norm=bound)
    less = gradient.clipped_sum(views[kept], targets[kept], max_grad_norm=bound)
    # The sums over the others round by themselves, in float32.
    assert (whole - less).norm() <= bound * (1 + 1e-5)


def test_without_privacy_the_loss_is_the_mean_over_all_views() -> None:
    module, inputs, targets = network(), draw(5, 1, 4, 4), torch.tensor([0, 1, 2, 0, 1])
    chain = Augmentations.of([Noise(stddev=0.5)], views=3)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        found = mean_loss(module, cross_entropy, chain, inputs, targets)
        torch.manual_seed(1)
        views = [Noise(stddev=0.5).view(inputs, torch.default_generator) for _ in range(3)]
    wanted = torch.stack([cross_entropy(module(view), targets) for view in views]).mean()
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("loss", [cross_entropy, SmoothedCrossEntropy(smoothing=0.1), own_loss])
def test_the_loss_of_a_mixture_is_the_mixture_of_losses(loss: object) -> None:
    """Cross-entropy is linear in its target: mixed one-hot targets give the same."""
    module, inputs, targets = network(), draw(6, 1, 4, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    with torch.random.fork_rng():
        torch.manual_seed(1)
        found = mean_loss(module, loss, Augmentations.of([Mixup(alpha=1.0)]), inputs, targets)  # type: ignore[arg-type]
        torch.manual_seed(1)
        mixed = Mixup(alpha=1.0).mix(inputs, torch.default_generator)
    one_hot = nn.functional.one_hot(targets, 3).float()
    soft = mixed.share[:, None] * one_hot + (1 - mixed.share[:, None]) * one_hot[mixed.partners]
    smoothing = getattr(loss, "smoothing", 0.0)
    wanted = nn.functional.cross_entropy(module(mixed.inputs), soft, label_smoothing=smoothing)
    torch.testing.assert_close(found, wanted)
