"""The convolutional network on which DP-SGD is compared for 28×28 images.

Papernot et al. 2021 ("Tempered sigmoid activations", Table 1), taken over by Tramèr and Boneh 2021 (Table 7):
bounded activations keep per-record gradients small, so that clipping takes less from them.
"""

from __future__ import annotations

from torch import nn

from fedlearn.models.classifier import Classifier
from fedlearn.models.shapes import check_classes, check_widths, image_of


def tanh_cnn(shape: tuple[int, ...], classes: int, *, channels: int = 16, hidden: int = 32) -> Classifier:
    """Returns two wide convolutions with tanh and overlapping pooling, and one hidden layer.

    Args:
      shape: (channels, height, width) with sides of at least 14; published for (1, 28, 28).
      classes: number of logits, at least 2.
      channels: of the first convolution; the second has twice as many.
      hidden: width of the hidden layer.

    Raises:
      ModelError: not an image of that size, a width below 1, or fewer than two classes.

    >>> sum(p.numel() for p in tanh_cnn((1, 28, 28), 10).parameters())
    26010
    """
    check_classes(classes)
    check_widths(channels=channels, hidden=hidden)
    depth, height, width = image_of(shape, model="tanh-cnn", least=14)
    body = nn.Sequential(
        nn.Conv2d(depth, channels, kernel_size=8, stride=2, padding=2),
        nn.Tanh(),
        nn.MaxPool2d(2, 1),
        nn.Conv2d(channels, 2 * channels, kernel_size=4, stride=2),
        nn.Tanh(),
        nn.MaxPool2d(2, 1),
        nn.Flatten(),
        nn.Linear(2 * channels * _side(height) * _side(width), hidden),
        nn.Tanh(),
    )
    return Classifier(body=body, head=nn.Linear(hidden, classes))


def _side(pixels: int) -> int:
    """Returns what both convolutions and poolings leave of a side."""
    first = (pixels + 4 - 8) // 2 + 1 - 1
    return (first - 4) // 2 + 1 - 1
