"""A pull of every parameter towards zero, by its size."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fedlearn._validate import positive


@dataclass(frozen=True, kw_only=True)
class L2:
    """strength / 2 · ‖w‖², which plain SGD calls weight decay; part of the gradient for every optimizer.

    Attributes:
      strength: λ > 0.
    """

    strength: float

    def __post_init__(self) -> None:
        positive(strength=self.strength)

    def add_gradient(self, gradient: Tensor, params: Tensor, anchor: Tensor) -> None:
        """Adds λ · w."""
        gradient.add_(params, alpha=self.strength)
