"""Arrays that forked processes share: anonymous memory, gone with the last process that maps it."""

from __future__ import annotations

import ctypes
import mmap
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Numbers of two settings of glibc's ``mallopt``."""

_KEPT: Final = 128 << 20
_LARGEST_ON_HEAP: Final = 32 << 20


def keep_freed_memory() -> None:
    """Lets this process keep up to 128 MB that it has freed, instead of handing it back each time.

    A gradient or an update of a megabyte is otherwise mapped anew, page by page, for every step; that was a
    tenth of the time of a small model's training. Does nothing where the C library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST_ON_HEAP)
        mallopt(_TRIM_THRESHOLD, _KEPT)


def shared_array(shape: int | tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Returns zeros that this process and those forked from it see alike.

    Pages that nobody has written take no memory, so that room for rare cases costs nothing.

    >>> shared_array(3, "<f4").tolist()
    [0.0, 0.0, 0.0]
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    array: NDArray[Any] = np.frombuffer(mmap.mmap(-1, max(1, size)), dtype, count=int(np.prod(shape)))
    return array.reshape(shape)
