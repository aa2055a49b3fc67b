"""What every compressor is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedlearn._types import Vector
from fedlearn.errors import MalformedMessage

Payload: TypeAlias = NDArray[Any]
"""What travels, one-dimensional."""

Label: TypeAlias = tuple[str, int]
"""Run and round: public, and the same at all clients."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The form of a payload; known beforehand, so that its size tells nothing of the update.

    Attributes:
      dtype: float32 where payloads add up, else bytes.
      length: number of elements.
    """

    dtype: np.dtype[Any]
    length: int

    @property
    def nbytes(self) -> int:
        """Bytes on the wire."""
        return self.length * self.dtype.itemsize

    def check(self, payload: Payload) -> None:
        """Raises MalformedMessage unless the payload has this form."""
        if payload.dtype != self.dtype or payload.shape != (self.length,):
            raise MalformedMessage(
                f"payload of {payload.dtype} {payload.shape}; expected {self.dtype} ({self.length},)"
            )


class Compressor(Protocol):
    """Makes updates shorter, and reads them back as well as that goes.

    Frozen values: both sides of a run hold the same one, and everything else it needs is an argument.
    """

    summable: ClassVar[bool]
    """Whether payloads add up: compress is then linear for a given label, and lengthens no vector."""

    unbiased: ClassVar[bool]
    """Whether ``expansion · restored`` is the update in expectation, over coins and labels."""

    def layout(self, dimension: int) -> Layout:
        """Returns the form of the payload of an update (dimension,)."""
        ...

    def expansion(self, dimension: int) -> float:
        """Returns what makes a restored update of full size in expectation; 1 if it is already."""
        ...

    def compress(self, update: Vector, *, label: Label, coins: np.random.Generator) -> Payload:
        """Returns the payload of an update, of the form ``layout(d)``.

        Args:
          update: shape (d,), float32, finite; not changed.
          label: of the round.
          coins: this client's, for stochastic rounding.
        """
        ...

    def restore(self, payload: Payload, *, dimension: int, label: Label) -> Vector:
        """Returns the update that a payload stands for, shape (d,), float32.

        Raises:
          MalformedMessage: it is no payload of this compressor; it may come from anybody.
        """
        ...
