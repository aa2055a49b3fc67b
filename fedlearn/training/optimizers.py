"""Local optimizers. Each starts afresh every round: its state never leaves a client, nor outlives one."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.nn import Parameter


def sgd(
    parameters: Iterable[Parameter], *, learning_rate: float, momentum: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Stochastic gradient descent, with heavy-ball momentum if ``momentum`` > 0."""
    return torch.optim.SGD(parameters, lr=learning_rate, momentum=momentum, weight_decay=weight_decay)


def adam(
    parameters: Iterable[Parameter], *, learning_rate: float, momentum: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Adam (Kingma and Ba 2015, Algorithm 1); its own first-moment decay is 0.9, ``momentum`` unused."""
    return torch.optim.Adam(parameters, lr=learning_rate, weight_decay=weight_decay)


def adamw(
    parameters: Iterable[Parameter], *, learning_rate: float, momentum: float, weight_decay: float
) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019, Algorithm 2): decoupled weight decay; ``momentum`` unused."""
    return torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay)
