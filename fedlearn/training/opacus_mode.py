"""Our clipping in a training loop written for Opacus, in the place of its mode ``ghost``.

>>> import torch
>>> from torch import nn
>>> model, optimizer, criterion = make_private(
...     nn.Linear(4, 2),
...     torch.optim.SGD,
...     nn.CrossEntropyLoss(),
...     max_grad_norm=1.0,
...     noise_multiplier=1.0,
...     expected_batch_size=8,
...     lr=0.1,
... )
>>> criterion(model(torch.randn(8, 4)), torch.zeros(8, dtype=torch.long)).backward()
>>> optimizer.step()

The noise is that of Opacus' optimizer, from PyTorch's generator; accounting stays with the caller. A
client of fedlearn uses neither: its noise is keyed by the operating system, and its steps are charged.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from opacus.optimizers import DPOptimizerFastGradientClipping
from torch import Tensor, nn

from fedlearn.errors import ModelError
from fedlearn.training.clipping import Clipping
from fedlearn.training.fast_clip import FastClip
from fedlearn.training.private import check_clippable


class ClippedModule(nn.Module):
    """A module whose forward passes in training mode are noted for clipping.

    Args:
      module: the model; its parameters keep their names under ``module``.
      clipping: ``auto`` or ``fast``.

    Raises:
      ModelError: a layer that mixes records or has no per-record gradient.
    """

    def __init__(self, module: nn.Module, clipping: Clipping = "auto") -> None:
        super().__init__()
        check_clippable(module)
        self.module = module
        self.clip = FastClip(module, clipping)

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns what the module gives."""
        if not (self.training and torch.is_grad_enabled()):
            return self.module(inputs)  # type: ignore[no-any-return]
        with self.clip.noting():
            return self.module(inputs)  # type: ignore[no-any-return]


class ClippedCriterion:
    """A criterion whose ``backward()`` leaves clipped sums of per-record gradients in ``p.grad``.

    Args:
      module: the model that the outputs come from.
      criterion: a loss with a ``reduction``; the mean over one record's entries is that record's loss.
      max_grad_norm: C > 0.
    """

    def __init__(self, module: ClippedModule, criterion: nn.Module, *, max_grad_norm: float) -> None:
        if not hasattr(criterion, "reduction"):
            raise ModelError(f"{type(criterion).__name__} has no reduction; give a loss of torch.nn")
        self._module = module
        self._criterion = copy.copy(criterion)
        setattr(self._criterion, "reduction", "none")  # noqa: B010  # a string, which nn.Module does not type
        self._bound = max_grad_norm

    def __call__(self, outputs: Tensor, targets: Tensor) -> ClippedLoss:
        """Returns the loss of a batch, outputs (b, …) and targets (b, …)."""
        losses: Tensor = self._criterion(outputs, targets).reshape(len(outputs), -1).mean(dim=1)
        return ClippedLoss(losses, self._module, self._bound)


@dataclass(frozen=True)
class ClippedLoss:
    """The losses of a batch, shape (b,), one per record."""

    losses: Tensor
    module: ClippedModule
    bound: float

    def item(self) -> float:
        """Returns the mean loss: private, for the eyes of the data's owner."""
        return float(self.losses.detach().mean())

    def backward(self) -> None:
        """Writes Σ g · min(1, C / ‖g‖) into the gradient of every trainable parameter."""
        parameters = [p for p in self.module.parameters() if p.requires_grad]
        sums: dict[Tensor, Tensor] = {p: torch.zeros_like(p, requires_grad=False) for p in parameters}
        self.module.clip.add_noted_sum(sums, self.losses.sum(), records=len(self.losses), bound=self.bound)
        for parameter, total in sums.items():
            parameter.grad = total


def make_private(
    module: nn.Module,
    optimizer: type[torch.optim.Optimizer],
    criterion: nn.Module,
    *,
    max_grad_norm: float,
    noise_multiplier: float,
    expected_batch_size: int,
    **settings: Any,
) -> tuple[ClippedModule, DPOptimizerFastGradientClipping, ClippedCriterion]:
    """Returns module, optimizer and criterion, as Opacus' ``make_private`` does in its mode ``ghost``.

    Args:
      module: the model.
      optimizer: class of the optimizer.
      criterion: a loss with a ``reduction``.
      max_grad_norm: C > 0.
      noise_multiplier: σ ≥ 0.
      expected_batch_size: what the noisy sum is divided by.
      settings: of the optimizer, as ``lr``.

    Raises:
      ModelError: a layer that mixes records or has no per-record gradient, or a criterion without reduction.
    """
    private = ClippedModule(module)
    trained = [p for p in private.parameters() if p.requires_grad]
    noisy = DPOptimizerFastGradientClipping(
        optimizer(trained, **settings),
        noise_multiplier=noise_multiplier,
        max_grad_norm=max_grad_norm,
        expected_batch_size=expected_batch_size,
    )
    return private, noisy, ClippedCriterion(private, criterion, max_grad_norm=max_grad_norm)
