"""A part of each image, enlarged to its size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from fedlearn._validate import in_range, positive


@dataclass(frozen=True, kw_only=True)
class Crop:
    """Cuts a window out of each image, anywhere, and enlarges it to the image's size (bilinear).

    Attributes:
      least: side of the smallest window over the image's side, in (0, 1]; the largest is the image.

    >>> image = torch.ones(2, 1, 8, 8)
    >>> torch.allclose(Crop().view(image, torch.Generator()), image)
    True
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image"})
    least: float = 0.8

    def __post_init__(self) -> None:
        positive(least=self.least)
        in_range(0.0, 1.0, least=self.least)

    def view(self, inputs: Tensor, random: torch.Generator) -> Tensor:
        """Returns the enlarged windows, (n, channels, height, width)."""
        count = len(inputs)
        side = self.least + (1.0 - self.least) * torch.rand(count, generator=random)
        # In coordinates from −1 to 1 a window of that side has its centre within 1 − side.
        centre = (2.0 * torch.rand(count, 2, generator=random) - 1.0) * (1.0 - side)[:, None]
        frames = torch.zeros(count, 2, 3)
        frames[:, 0, 0] = frames[:, 1, 1] = side
        frames[:, :, 2] = centre
        grid = functional.affine_grid(frames.to(inputs.device), list(inputs.shape), align_corners=False)
        return functional.grid_sample(inputs, grid, padding_mode="border", align_corners=False)
