"""What a client minimises: the loss over its records, and what an algorithm adds to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from fedlearn._validate import between

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


@dataclass(frozen=True, kw_only=True)
class SmoothedCrossEntropy:
    """Cross-entropy against targets of which a share is spread over all classes (Szegedy et al. 2016, 7).

    Attributes:
      smoothing: the share, in (0, 1).
    """

    smoothing: float

    def __post_init__(self) -> None:
        between(0.0, 1.0, smoothing=self.smoothing)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns the mean over a batch, as :func:`cross_entropy`."""
        return torch.nn.functional.cross_entropy(
            outputs.flatten(0, -2), targets.flatten(), label_smoothing=self.smoothing
        )

    def each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns the loss of each record, (n,)."""
        return _cross_entropies(outputs, targets, smoothing=self.smoothing)


def per_record(loss: Loss) -> Losses:
    """Returns the loss of each record alone: by the loss's own ``each``, or by a call on each record."""
    known: dict[Loss, Losses] = {cross_entropy: _cross_entropies, mean_squared_error: _squared_errors}
    own: Losses | None = known.get(loss) or getattr(loss, "each", None)
    return own or torch.vmap(lambda output, target: loss(output[None], target[None]).sum())


def _cross_entropies(outputs: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> Tensor:
    losses = torch.nn.functional.cross_entropy(
        outputs.flatten(0, -2), targets.flatten(), reduction="none", label_smoothing=smoothing
    )
    if targets.dim() == 1:
        return losses
    # Targets of -100 are left out of PyTorch's mean.
    return losses.view(len(outputs), -1).sum(dim=1) / (targets != -100).flatten(1).sum(dim=1)


def _squared_errors(outputs: Tensor, targets: Tensor) -> Tensor:
    wanted = targets.to(outputs.dtype).reshape(outputs.shape)
    return (outputs - wanted).square().flatten(1).mean(dim=1)
