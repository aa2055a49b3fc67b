"""Images moved by a few pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from fedlearn.errors import ConfigError, DataError


@dataclass(frozen=True, kw_only=True)
class Shift:
    """Moves each image up or down, left or right, by up to ``pixels``; its edge is continued.

    Attributes:
      pixels: largest shift along each side, ≥ 1 and below the shorter side.

    >>> image = torch.arange(4.0).view(1, 1, 1, 4).expand(1, 1, 4, 4)
    >>> Shift(pixels=1).view(image, torch.Generator().manual_seed(3))[0, 0, 0].tolist()
    [1.0, 2.0, 3.0, 3.0]
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image"})
    pixels: int = 2

    def __post_init__(self) -> None:
        if self.pixels < 1:
            raise ConfigError(f"shift of {self.pixels} pixels; at least 1 is needed, or leave shift out")

    def view(self, inputs: Tensor, random: torch.Generator) -> Tensor:
        """Returns the shifted images, (n, channels, height, width)."""
        count, _, height, width = inputs.shape
        if self.pixels >= min(height, width):
            raise DataError(f"shift of {self.pixels} pixels on images of {height} × {width}; lower it")
        padded = functional.pad(inputs, (self.pixels,) * 4, mode="replicate")
        rows, columns = (
            (torch.randint(0, 2 * self.pixels + 1, (count, 1), generator=random) + torch.arange(side)).to(
                inputs.device
            )
            for side in (height, width)
        )
        record = torch.arange(count, device=inputs.device)[:, None, None]
        # Indexed along three axes, two of them apart: PyTorch puts those in front and channels last.
        return padded[record, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()
