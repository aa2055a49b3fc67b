"""What a model asks of the shape of a record, checked before anything is built."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fedlearn.errors import ModelError


def check_classes(classes: int) -> None:
    """Raises ModelError unless there are at least two classes."""
    if classes < 2:
        raise ModelError(f"classes={classes} must be at least 2: a binary target has two logits")


def features_of(shape: Sequence[int]) -> int:
    """Returns the number of values in one record.

    Raises:
      ModelError: the shape has no axis, or an axis without values.

    >>> features_of((1, 8, 8))
    64
    """
    if not shape or min(shape) < 1:
        raise ModelError(f"shape={tuple(shape)} of a record must have at least one axis, each at least 1")
    return math.prod(shape)


def image_of(shape: Sequence[int], *, model: str, least: int) -> tuple[int, int, int]:
    """Returns (channels, height, width) of an image record.

    Raises:
      ModelError: not three axes, or a side shorter than ``least`` pixels.

    >>> image_of((1, 8, 8), model="cnn", least=4)
    (1, 8, 8)
    """
    if len(shape) != 3 or min(shape) < 1 or min(shape[1:]) < least:
        raise ModelError(
            f"{model} needs images of shape (channels, height, width) with sides of at least {least},"
            f" not shape={tuple(shape)}; mlp takes any shape"
        )
    return shape[0], shape[1], shape[2]


def length_of(shape: Sequence[int], *, model: str) -> int:
    """Returns the number of tokens in one record.

    Raises:
      ModelError: the record is not one sequence of tokens.

    >>> length_of((80,), model="lstm")
    80
    """
    if len(shape) != 1 or shape[0] < 1:
        raise ModelError(f"{model} needs token sequences of shape (length,), not shape={tuple(shape)}")
    return shape[0]


def vocabulary_of(vocabulary: int | None, *, classes: int) -> int:
    """Returns the number of distinct tokens: as given, else one per class (next-token prediction).

    Raises:
      ModelError: the vocabulary has fewer than two tokens.
    """
    size = classes if vocabulary is None else vocabulary
    if size < 2:
        raise ModelError(f"vocabulary={size} must have at least 2 tokens")
    return size


def check_widths(**widths: int) -> None:
    """Raises ModelError unless every named width, depth or size is at least one."""
    for name, value in widths.items():
        if value < 1:
            raise ModelError(f"{name}={value} must be at least 1")
