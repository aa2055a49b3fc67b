"""A pull of every parameter towards zero, by a constant."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fedlearn._validate import positive


@dataclass(frozen=True, kw_only=True)
class L1:
    """strength · ‖w‖₁; its subgradient at 0 is 0 (Tibshirani 1996).

    Attributes:
      strength: λ > 0.
    """

    strength: float

    def __post_init__(self) -> None:
        positive(strength=self.strength)

    def add_gradient(self, gradient: Tensor, params: Tensor, anchor: Tensor) -> None:
        """Adds λ · sign(w)."""
        gradient.add_(torch.sign(params), alpha=self.strength)
