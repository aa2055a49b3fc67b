"""Values with a little noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fedlearn._validate import positive


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Adds N(0, stddev²) to every value. It protects nothing: that is what ``[privacy]`` is for.

    Attributes:
      stddev: in the unit of the inputs as the model sees them, > 0.

    >>> Noise(stddev=0.1).view(torch.zeros(2, 3), torch.Generator()).shape
    torch.Size([2, 3])
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"tabular", "image"})
    stddev: float = 0.1

    def __post_init__(self) -> None:
        positive(stddev=self.stddev)

    def view(self, inputs: Tensor, random: torch.Generator) -> Tensor:
        """Returns the noisy values, (n, …)."""
        return inputs + self.stddev * torch.randn(inputs.shape, generator=random).to(inputs.device)
