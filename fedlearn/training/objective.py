"""What a client minimises: the loss over its records, and what an algorithm adds to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""``(outputs, targets) -> scalar``: the mean over the records of a batch."""


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of logits (n, classes) or (n, T, classes) against integer targets (n,) or (n, T)."""
    return torch.nn.functional.cross_entropy(outputs.flatten(0, -2), targets.flatten())


def mean_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error; targets take the shape and dtype of the outputs."""
    return torch.nn.functional.mse_loss(outputs, targets.to(outputs.dtype).reshape(outputs.shape))


def add_proximal_gradient(gradient: Tensor, params: Tensor, anchor: Tensor, mu: float) -> None:
    """Adds the gradient of mu / 2 · ‖params − anchor‖² in place (Li et al. 2020, FedProx, equation 2).

    The term depends on no record, so under record-level DP it is added after clipping and noise.
    """
    gradient.add_(params - anchor, alpha=mu)
