"""Multilayer perceptron over the flattened record."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from fedlearn.models.classifier import Activation, Classifier, activation_of
from fedlearn.models.shapes import check_classes, check_widths, features_of


def dense_layers(widths: Sequence[int], *, activation: Activation) -> list[nn.Module]:
    """Returns Linear and activation layers in turn, from ``widths[0]`` inputs to ``widths[-1]`` outputs."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), activation_of(activation)]
    return layers


def mlp(
    shape: tuple[int, ...],
    classes: int,
    *,
    hidden: Sequence[int] = (64,),
    activation: Activation = "relu",
) -> Classifier:
    """Returns Linear layers with an activation between them.

    Its body has the parameter names of the autoencoder's encoder for the same ``hidden``.

    Args:
      shape: of one record; flattened.
      classes: number of logits, at least 2.
      hidden: widths of the hidden layers, first to last; may be empty.
      activation: ``relu`` or ``tanh``.

    Raises:
      ModelError: a width below 1, an unknown activation, no values or fewer than two classes.

    >>> sum(p.numel() for p in mlp((13,), 2, hidden=(16,)).parameters())
    258
    """
    check_classes(classes)
    check_widths(**{f"hidden[{i}]": width for i, width in enumerate(hidden)})
    widths = [features_of(shape), *hidden]
    body = nn.Sequential(nn.Flatten(), *dense_layers(widths, activation=activation))
    return Classifier(body=body, head=nn.Linear(widths[-1], classes))
