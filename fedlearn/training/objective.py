"""What a client minimises: the loss over its records, and what an algorithm adds to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""``(outputs, targets) -> scalar``: the mean over the records of a batch."""


Losses: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""``(outputs, targets) -> (n,)``: the loss of each record, as if it were a batch of its own."""


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of logits (n, classes) or (n, T, classes) against integer targets (n,) or (n, T)."""
    return torch.nn.functional.cross_entropy(outputs.flatten(0, -2), targets.flatten())


def mean_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error; targets take the shape and dtype of the outputs."""
    return torch.nn.functional.mse_loss(outputs, targets.to(outputs.dtype).reshape(outputs.shape))


def per_record(loss: Loss) -> Losses:
    """Returns the loss of each record alone; of an own loss by calling it on every record under ``vmap``."""
    known: dict[Loss, Losses] = {cross_entropy: _cross_entropies, mean_squared_error: _squared_errors}
    return known.get(loss) or torch.vmap(lambda output, target: loss(output[None], target[None]).sum())


def _cross_entropies(outputs: Tensor, targets: Tensor) -> Tensor:
    losses = torch.nn.functional.cross_entropy(outputs.flatten(0, -2), targets.flatten(), reduction="none")
    if targets.dim() == 1:
        return losses
    # Targets of -100 are left out of PyTorch's mean.
    return losses.view(len(outputs), -1).sum(dim=1) / (targets != -100).flatten(1).sum(dim=1)


def _squared_errors(outputs: Tensor, targets: Tensor) -> Tensor:
    wanted = targets.to(outputs.dtype).reshape(outputs.shape)
    return (outputs - wanted).square().flatten(1).mean(dim=1)


def add_proximal_gradient(gradient: Tensor, params: Tensor, anchor: Tensor, mu: float) -> None:
    """Adds the gradient of mu / 2 · ‖params − anchor‖² in place (Li et al. 2020, FedProx, equation 2).

    The term depends on no record, so under record-level DP it is added after clipping and noise.
    """
    gradient.add_(params - anchor, alpha=mu)
