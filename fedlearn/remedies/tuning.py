"""Which parameters are trained: what every tuning is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor, nn


class Tuning(Protocol):
    """A choice of what is trained. Only trained parameters travel, are masked and noised."""

    def apply(self, module: nn.Module) -> nn.Module:
        """Returns the model with the other parameters frozen; it may be the same object, changed.

        Raises:
          ModelError: the model has no such part.
        """
        ...

    def whole_state(self, module: nn.Module) -> Mapping[str, Tensor]:
        """Returns the state of a tuned model under the names of the untuned one; copies."""
        ...


def freeze(module: nn.Module) -> None:
    """Takes all parameters out of training."""
    for parameter in module.parameters():
        parameter.requires_grad_(False)


def thaw(module: nn.Module) -> None:
    """Takes all parameters into training."""
    for parameter in module.parameters():
        parameter.requires_grad_(True)


def copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns copies of the tensors, apart from the model and in the processor's memory."""
    return {name: value.detach().cpu().clone() for name, value in state.items()}
