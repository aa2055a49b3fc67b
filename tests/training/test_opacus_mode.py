"""A training loop written for Opacus runs on our clipping, to the same parameters."""

from __future__ import annotations

import pytest
import torch
from opacus import PrivacyEngine
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from fedlearn.errors import ModelError
from fedlearn.training.opacus_mode import ClippedCriterion, ClippedModule, make_private


def built() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.GroupNorm(1, 2), nn.Flatten(), nn.Linear(32, 3))


def test_it_trains_as_opacus_ghost_mode_does() -> None:
    torch.manual_seed(1)
    inputs, targets = torch.randn(8, 1, 6, 6), torch.randint(0, 3, (8,))
    ours, theirs = built(), built()
    model, optimizer, criterion = make_private(
        ours,
        torch.optim.SGD,
        nn.CrossEntropyLoss(),
        max_grad_norm=0.3,
        noise_multiplier=0.0,
        expected_batch_size=8,
        lr=0.5,
    )
    reference, stepper, judge, _ = PrivacyEngine(accountant="rdp").make_private(
        module=theirs,
        optimizer=torch.optim.SGD(theirs.parameters(), lr=0.5),
        criterion=nn.CrossEntropyLoss(),
        data_loader=DataLoader(TensorDataset(inputs, targets), batch_size=8),
        max_grad_norm=0.3,
        noise_multiplier=0.0,
        grad_sample_mode="ghost",
        poisson_sampling=False,
    )
    for _ in range(3):
        optimizer.zero_grad()
        loss = criterion(model(inputs), targets)
        with torch.no_grad():
            mean = float(nn.functional.cross_entropy(ours(inputs), targets))
        assert loss.item() == pytest.approx(mean, rel=1e-5)
        loss.backward()
        optimizer.step()
        stepper.zero_grad()
        judge(reference(inputs), targets).backward()
        stepper.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_evaluation_notes_nothing() -> None:
    model = ClippedModule(built()).eval()
    assert not model(torch.randn(2, 1, 6, 6)).isnan().any()
    with torch.no_grad():
        model.train()(torch.randn(2, 1, 6, 6))


def test_a_loss_of_ones_own_is_refused() -> None:
    with pytest.raises(ModelError, match="Identity has no reduction"):
        ClippedCriterion(ClippedModule(built()), nn.Identity(), max_grad_norm=1.0)
