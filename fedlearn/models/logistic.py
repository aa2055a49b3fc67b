"""Multinomial logistic regression: the convex baseline."""

from __future__ import annotations

from torch import nn

from fedlearn.models.classifier import Classifier
from fedlearn.models.shapes import check_classes, features_of


def logistic(shape: tuple[int, ...], classes: int) -> Classifier:
    """Returns a linear map from the flattened record to logits, starting at zero.

    The objective is convex, so the start does not matter; zero makes it the same for every seed.

    Args:
      shape: of one record; flattened.
      classes: number of logits, at least 2.

    Raises:
      ModelError: the shape has no values, or there are fewer than two classes.

    >>> sum(p.numel() for p in logistic((30,), 2).parameters())
    62
    """
    check_classes(classes)
    head = nn.Linear(features_of(shape), classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return Classifier(body=nn.Flatten(), head=head)
