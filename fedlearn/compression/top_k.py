"""Fewer coordinates: each client's own largest (Aji and Heafield 2017; Stich et al. 2018)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedlearn._types import Vector
from fedlearn._validate import positive
from fedlearn.compression.compressor import Label, Layout, Payload
from fedlearn.errors import ConfigError, MalformedMessage


@dataclass(frozen=True, kw_only=True)
class TopK:
    """Sends the largest coordinates with their places; without error feedback the others are lost.

    Attributes:
      fraction: share of the coordinates that is sent, in (0, 1]; at least one.

    >>> top = TopK(fraction=0.3)
    >>> update = np.array([0.1, -3.0, 0.2, 2.0], np.float32)
    >>> payload = top.compress(update, label=("run", 0), coins=np.random.default_rng(0))
    >>> len(payload), top.restore(payload, dimension=4, label=("run", 0)).tolist()
    (16, [0.0, -3.0, 0.0, 2.0])
    """

    summable: ClassVar[bool] = False
    unbiased: ClassVar[bool] = False

    fraction: float = 0.01

    def __post_init__(self) -> None:
        positive(fraction=self.fraction)
        if self.fraction > 1:
            raise ConfigError(f"fraction={self.fraction} must be at most 1")

    def layout(self, dimension: int) -> Layout:
        """Four bytes for each place, in order, then four for each value."""
        return Layout(dtype=np.dtype(np.uint8), length=8 * self._count(dimension))

    def expansion(self, dimension: int) -> float:
        """What is left out is small, not random: nothing makes up for it but error feedback."""
        del dimension
        return 1.0

    def compress(self, update: Vector, *, label: Label, coins: np.random.Generator) -> Payload:
        """Returns places and values of the largest; of equal ones the first."""
        del label, coins
        order = np.argsort(-np.abs(update), kind="stable")
        places = np.sort(order[: self._count(update.size)]).astype("<u4")
        values = update[places].astype("<f4")
        return np.concatenate([places.view(np.uint8), values.view(np.uint8)])

    def restore(self, payload: Payload, *, dimension: int, label: Label) -> Vector:
        """Returns the values at their places, and zeros."""
        del label
        self.layout(dimension).check(payload)
        half = payload.size // 2
        places, values = payload[:half].view("<u4"), payload[half:].view("<f4")
        if (np.diff(places.astype(np.int64)) <= 0).any() or (places >= dimension).any():
            raise MalformedMessage(f"places are not in order or not below {dimension}")
        if not np.isfinite(values).all():
            raise MalformedMessage("a value is NaN or infinite")
        restored = np.zeros(dimension, dtype=np.float32)
        restored[places] = values
        return restored

    def _count(self, dimension: int) -> int:
        return min(dimension, math.ceil(self.fraction * dimension))
