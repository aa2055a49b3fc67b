"""Records mixed in pairs (Zhang et al. 2018, mixup)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fedlearn._validate import positive
from fedlearn.remedies.augmentation import Mixture


@dataclass(frozen=True, kw_only=True)
class Mixup:
    """λ · record + (1 − λ) · another of the batch, the loss mixed likewise; λ ~ Beta(α, α) for each record.

    Attributes:
      alpha: α > 0; small values leave most records almost whole, 1 mixes evenly.

    >>> mixed = Mixup().mix(torch.eye(3), torch.Generator().manual_seed(0))
    >>> bool((mixed.inputs.sum(dim=1) - 1).abs().max() < 1e-6)
    True
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"tabular", "image"})
    alpha: float = 0.2

    def __post_init__(self) -> None:
        positive(alpha=self.alpha)

    def mix(self, inputs: Tensor, random: torch.Generator) -> Mixture:
        """Returns each record mixed with one drawn at random, (n, …)."""
        partners = torch.randperm(len(inputs), generator=random).to(inputs.device)
        share = self._shares(len(inputs), random).to(inputs.device)
        wide = share.view(-1, *(1,) * (inputs.dim() - 1))
        return Mixture(inputs=wide * inputs + (1.0 - wide) * inputs[partners], partners=partners, share=share)

    def _shares(self, count: int, random: torch.Generator) -> Tensor:
        # Beta(α, α) as a ratio of Gammas: torch.distributions takes no generator.
        gammas = torch._standard_gamma(torch.full((2, count), self.alpha, dtype=torch.float64), random)
        total = gammas.sum(dim=0)
        # Both can underflow for a small α; such a record stays whole.
        return torch.where(total > 0, gammas[0] / total, 1.0).float()
