"""A residual network with GroupNorm (He et al. 2016; Wu and He 2018; Hsieh et al. 2020).

BatchNorm would mix the records of a batch, which no per-record guarantee survives, and
averages badly over clients with different labels (Hsieh et al. 2020, section 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import gcd

from torch import Tensor, nn

from fedlearn.models.classifier import Classifier
from fedlearn.models.shapes import check_classes, check_widths, image_of


def _conv(inputs: int, outputs: int, *, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False)


def _norm(channels: int, groups: int) -> nn.GroupNorm:
    return nn.GroupNorm(gcd(groups, channels), channels)


class ResidualBlock(nn.Module):
    """Two normalised convolutions beside a shortcut: (n, inputs, h, w) → (n, outputs, h/stride, w/stride)."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, groups: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            _conv(inputs, outputs, stride=stride),
            _norm(outputs, groups),
            nn.ReLU(),
            _conv(outputs, outputs),
            _norm(outputs, groups),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False)
        self.activation = nn.ReLU()

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns the activated sum of the residual and the shortcut."""
        outputs: Tensor = self.activation(self.residual(inputs) + self.shortcut(inputs))
        return outputs


def resnet_gn(
    shape: tuple[int, ...],
    classes: int,
    *,
    widths: Sequence[int] = (16, 32, 64),
    blocks: int = 1,
    groups: int = 8,
) -> Classifier:
    """Returns a stem, stages of residual blocks that halve the image, and a mean over pixels.

    Args:
      shape: (channels, height, width) with sides of at least 2^(stages - 1).
      classes: number of logits, at least 2.
      widths: channels of each stage; the first keeps the resolution, each other halves it.
      blocks: residual blocks per stage.
      groups: of GroupNorm, reduced to the greatest common divisor with a stage's channels.

    Raises:
      ModelError: not an image of that size, a width below 1, no stage, or fewer than two classes.

    >>> sum(p.numel() for p in resnet_gn((1, 28, 28), 10).parameters())
    77562
    """
    check_classes(classes)
    check_widths(stages=len(widths), blocks=blocks, groups=groups)
    check_widths(**{f"widths[{i}]": width for i, width in enumerate(widths)})
    depth, _, _ = image_of(shape, model="resnet-gn", least=2 ** (len(widths) - 1))
    layers: list[nn.Module] = [_conv(depth, widths[0]), _norm(widths[0], groups), nn.ReLU()]
    for stage, (inputs, outputs) in enumerate(pairwise([widths[0], *widths])):
        layers.append(ResidualBlock(inputs, outputs, stride=1 if stage == 0 else 2, groups=groups))
        layers += [ResidualBlock(outputs, outputs, stride=1, groups=groups) for _ in range(blocks - 1)]
    body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Classifier(body=body, head=nn.Linear(widths[-1], classes))
