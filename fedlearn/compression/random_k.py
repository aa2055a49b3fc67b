"""Fewer coordinates, the same ones of all clients, drawn anew each round (Konečný et al. 2016, section 2)."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fedlearn._types import Vector
from fedlearn._validate import positive
from fedlearn.compression.compressor import Label, Layout, Payload
from fedlearn.errors import ConfigError, MalformedMessage


@dataclass(frozen=True, kw_only=True)
class RandomK:
    """Sends the coordinates that run and round tell: all clients the same, so that payloads add up.

    Guarantee: compress leaves coordinates out and changes none, so the payload is no longer than the
    update; a sensitivity bound on updates holds for payloads, whatever the label.

    Attributes:
      fraction: share of the coordinates that is sent, in (0, 1]; at least one.

    >>> some = RandomK(fraction=0.5)
    >>> update = np.arange(4, dtype=np.float32)
    >>> payload = some.compress(update, label=("run", 0), coins=np.random.default_rng(0))
    >>> len(payload), some.expansion(4), some.restore(payload, dimension=4, label=("run", 0)).tolist()
    (2, 2.0, [0.0, 0.0, 2.0, 3.0])
    """

    summable: ClassVar[bool] = True
    unbiased: ClassVar[bool] = True

    fraction: float = 0.1

    def __post_init__(self) -> None:
        positive(fraction=self.fraction)
        if self.fraction > 1:
            raise ConfigError(f"fraction={self.fraction} must be at most 1")

    def layout(self, dimension: int) -> Layout:
        """The values alone."""
        return Layout(dtype=np.dtype(np.float32), length=self._count(dimension))

    def expansion(self, dimension: int) -> float:
        """Returns d / k: a coordinate is sent in a share k / d of all rounds."""
        return dimension / self._count(dimension)

    def compress(self, update: Vector, *, label: Label, coins: np.random.Generator) -> Payload:
        """Returns the values of the round's coordinates, in their order."""
        del coins
        return update[self._places(update.size, label)].astype(np.float32)

    def restore(self, payload: Payload, *, dimension: int, label: Label) -> Vector:
        """Returns the values at the round's coordinates, and zeros."""
        self.layout(dimension).check(payload)
        if not np.isfinite(payload).all():
            raise MalformedMessage("a value is NaN or infinite")
        restored = np.zeros(dimension, dtype=np.float32)
        restored[self._places(dimension, label)] = payload
        return restored

    def _places(self, dimension: int, label: Label) -> NDArray[np.int64]:
        digest = hashlib.sha256(repr(("random-k", *label, dimension)).encode()).digest()
        rng = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))
        places = rng.permutation(dimension)[: self._count(dimension)]
        return np.sort(places)

    def _count(self, dimension: int) -> int:
        return min(dimension, math.ceil(self.fraction * dimension))
