"""Images mirrored left to right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fedlearn._validate import in_range


@dataclass(frozen=True, kw_only=True)
class Flip:
    """Mirrors each image left to right by a coin of its own. Not for digits, whose mirror is another sign.

    Attributes:
      probability: of a mirrored view, in [0, 1].

    >>> image = torch.arange(3.0).view(1, 1, 1, 3)
    >>> Flip(probability=1.0).view(image, torch.Generator())[0, 0, 0].tolist()
    [2.0, 1.0, 0.0]
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image"})
    probability: float = 0.5

    def __post_init__(self) -> None:
        in_range(0.0, 1.0, probability=self.probability)

    def view(self, inputs: Tensor, random: torch.Generator) -> Tensor:
        """Returns the images, (n, channels, height, width), some of them mirrored."""
        mirrored = (torch.rand(len(inputs), generator=random) < self.probability).to(inputs.device)
        return torch.where(mirrored[:, None, None, None], inputs.flip(3), inputs)
