"""A pull towards the global parameters (Li et al. 2020, FedProx, equation 2)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fedlearn._validate import positive


@dataclass(frozen=True, kw_only=True)
class Proximal:
    """strength / 2 · ‖w − global‖²: FedProx' term, beside any algorithm.

    Attributes:
      strength: μ > 0.
    """

    strength: float

    def __post_init__(self) -> None:
        positive(strength=self.strength)

    def add_gradient(self, gradient: Tensor, params: Tensor, anchor: Tensor) -> None:
        """Adds μ · (w − global)."""
        gradient.add_(params - anchor, alpha=self.strength)
