"""Fewer bits for each coordinate: stochastic rounding to levels (Alistarh et al. 2017, section 3.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fedlearn._types import Vector
from fedlearn._validate import in_range
from fedlearn.compression.compressor import Label, Layout, Payload
from fedlearn.errors import ConfigError, MalformedMessage


@dataclass(frozen=True, kw_only=True)
class Quantise:
    """Rounds each coordinate to one of 2^bits − 1 levels between ± the largest of its block.

    Rounding goes up or down by chance, so that it is right in expectation; zero stays zero. A block's largest
    magnitude travels as float32. With 2 bits this is TernGrad (Wen et al. 2017).

    Attributes:
      bits: of each coordinate, 2 to 16.
      block: coordinates that share a scale, at least 1.

    >>> quantise = Quantise(bits=2)
    >>> update = np.array([-1.0, 0.0, 1.0], np.float32)
    >>> payload = quantise.compress(update, label=("run", 0), coins=np.random.default_rng(0))
    >>> len(payload), quantise.restore(payload, dimension=3, label=("run", 0)).tolist()
    (5, [-1.0, 0.0, 1.0])
    """

    summable: ClassVar[bool] = False
    unbiased: ClassVar[bool] = True

    bits: int = 8
    block: int = 1024

    def __post_init__(self) -> None:
        in_range(2, 16, bits=self.bits)
        if self.block < 1:
            raise ConfigError(f"block={self.block} must be at least 1")

    def layout(self, dimension: int) -> Layout:
        """A float32 for each block, then the bits of all coordinates; the last byte is padded."""
        length = 4 * self._blocks(dimension) + math.ceil(dimension * self.bits / 8)
        return Layout(dtype=np.dtype(np.uint8), length=length)

    def expansion(self, dimension: int) -> float:
        """Nothing is left out."""
        del dimension
        return 1.0

    def compress(self, update: Vector, *, label: Label, coins: np.random.Generator) -> Payload:
        """Returns scales, then codes: the level above the lowest one, little-endian bits."""
        del label
        scales = np.maximum.reduceat(np.abs(update), np.arange(0, update.size, self.block))
        with np.errstate(divide="ignore", invalid="ignore"):
            levels = update.astype(np.float64) * (self._highest / self._spread(scales, update.size))
        levels = np.floor(np.nan_to_num(levels) + coins.random(update.size))
        # The product may be rounded to just above the highest level.
        codes = (np.clip(levels, -self._highest, self._highest) + self._highest).astype(np.uint16)
        return np.concatenate([scales.astype("<f4").view(np.uint8), self._packed(codes)])

    def restore(self, payload: Payload, *, dimension: int, label: Label) -> Vector:
        """Returns code by code what a level of its block is worth."""
        del label
        self.layout(dimension).check(payload)
        blocks = 4 * self._blocks(dimension)
        scales, codes = payload[:blocks].view("<f4"), self._unpacked(payload[blocks:], dimension)
        if not (np.isfinite(scales).all() and (scales >= 0).all()):
            raise MalformedMessage("a block's scale is negative, NaN or infinite")
        if dimension and int(codes.max()) > 2 * self._highest:
            raise MalformedMessage(f"code {codes.max()} stands for no level; the last is {2 * self._highest}")
        levels = codes.astype(np.float64) - self._highest
        restored: Vector = (levels * self._spread(scales, dimension) / self._highest).astype(np.float32)
        return restored

    @property
    def _highest(self) -> int:
        return int(2 ** (self.bits - 1) - 1)

    def _blocks(self, dimension: int) -> int:
        return -(-dimension // self.block)

    def _spread(self, scales: NDArray[np.float32], dimension: int) -> NDArray[np.float64]:
        return np.repeat(scales.astype(np.float64), self.block)[:dimension]

    def _packed(self, codes: NDArray[np.uint16]) -> NDArray[np.uint8]:
        places = np.arange(self.bits, dtype=np.uint16)
        bits = ((codes[:, None] >> places) & 1).astype(np.uint8)
        return np.packbits(bits.reshape(-1), bitorder="little")

    def _unpacked(self, packed: NDArray[np.uint8], dimension: int) -> NDArray[np.uint16]:
        bits = np.unpackbits(packed, count=dimension * self.bits, bitorder="little")
        places = np.uint16(1) << np.arange(self.bits, dtype=np.uint16)
        codes: NDArray[np.uint16] = bits.reshape(dimension, self.bits).astype(np.uint16) @ places
        return codes
