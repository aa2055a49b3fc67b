"""A random rotation that spreads a vector's length evenly over its coordinates.

After it no coordinate stands out, so that a ring of few bits holds the sum (Kairouz, Liu and Steinke 2021,
section 3). The seed is public: the rotation hides nothing.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from fedlearn.crypto.prg import Keystream


def padded(dimension: int) -> int:
    """Returns the least power of two that is at least ``dimension``: the length of a rotated vector.

    >>> padded(1), padded(5), padded(8)
    (1, 8, 8)
    """
    return 1 << max(0, dimension - 1).bit_length()


class Rotation:
    """The randomised Hadamard transform x ↦ H·D·x / √n, with public random signs D.

    It is orthogonal: it changes no norm and no distance.

    Args:
      label: whatever makes it public and fresh, such as run and round.
      dimension: d, length of the vectors before rotation.

    >>> turn = Rotation("run", 0, dimension=3)
    >>> turn.undo(turn.apply(np.array([1.0, 2.0, 3.0]))).round(12).tolist()
    [1.0, 2.0, 3.0]
    """

    def __init__(self, *label: str | int, dimension: int) -> None:
        self._dimension = dimension
        self._size = padded(dimension)
        seed = hashlib.sha256(repr(("fedlearn rotation", *label)).encode()).digest()
        bits = np.unpackbits(Keystream(seed).take(-(-self._size // 8), np.uint8), count=self._size)
        self._signs = 1.0 - 2.0 * bits

    def apply(self, vector: NDArray[np.floating]) -> NDArray[np.float64]:
        """Returns the rotated vector, shape (n,), n the least power of two ≥ d."""
        turned = np.zeros(self._size)
        turned[: self._dimension] = vector
        turned *= self._signs
        return _hadamard(turned)

    def undo(self, turned: NDArray[np.floating]) -> NDArray[np.float64]:
        """Returns the vector of which ``apply`` made this one, shape (d,)."""
        vector = _hadamard(turned.astype(np.float64))
        vector *= self._signs
        return vector[: self._dimension]


def _hadamard(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns H·x / √n by n log n additions; overwrites its argument."""
    half = 1
    while half < vector.size:
        pairs = vector.reshape(-1, 2, half)
        sums = pairs[:, 0] + pairs[:, 1]
        np.subtract(pairs[:, 0], pairs[:, 1], out=pairs[:, 1])
        pairs[:, 0] = sums
        half *= 2
    vector *= vector.size**-0.5
    return vector
