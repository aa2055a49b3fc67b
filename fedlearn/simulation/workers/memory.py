"""Arrays that forked processes share: anonymous memory, gone with the last process that maps it."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


def shared_array(shape: int | tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Returns zeros that this process and those forked from it see alike.

    Pages that nobody has written take no memory, so that room for rare cases costs nothing.

    >>> shared_array(3, "<f4").tolist()
    [0.0, 0.0, 0.0]
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    array: NDArray[Any] = np.frombuffer(mmap.mmap(-1, max(1, size)), dtype, count=int(np.prod(shape)))
    return array.reshape(shape)
