"""A small convolutional network for small images."""

from __future__ import annotations

from torch import nn

from fedlearn.models.classifier import Activation, Classifier, activation_of
from fedlearn.models.shapes import check_classes, check_widths, image_of


def cnn(
    shape: tuple[int, ...],
    classes: int,
    *,
    channels: int = 16,
    hidden: int = 32,
    activation: Activation = "relu",
) -> Classifier:
    """Returns two convolutions with pooling and one hidden layer, without any normalisation.

    Args:
      shape: (channels, height, width) with sides of at least 4: (1, 8, 8) and (1, 28, 28) fit.
      classes: number of logits, at least 2.
      channels: of the first convolution; the second has twice as many.
      hidden: width of the hidden layer.
      activation: ``relu``, or ``tanh`` (Papernot et al. 2021: better under clipping).

    Raises:
      ModelError: not an image of that size, a width below 1, or fewer than two classes.

    >>> sum(p.numel() for p in cnn((1, 28, 28), 10).parameters())
    55338
    """
    check_classes(classes)
    check_widths(channels=channels, hidden=hidden)
    depth, height, width = image_of(shape, model="cnn", least=4)
    body = nn.Sequential(
        nn.Conv2d(depth, channels, kernel_size=3, padding=1),
        activation_of(activation),
        nn.MaxPool2d(2),
        nn.Conv2d(channels, 2 * channels, kernel_size=3, padding=1),
        activation_of(activation),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * channels * (height // 4) * (width // 4), hidden),
        activation_of(activation),
    )
    return Classifier(body=body, head=nn.Linear(hidden, classes))
