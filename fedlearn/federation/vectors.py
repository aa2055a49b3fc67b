"""Vectors as raw little-endian bytes: what may cross a process or a machine, and what may not.

No pickle and no ``.npy`` header is parsed: a vector is its dtype, its length and its bytes, and
all three must agree.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlearn.errors import MalformedMessage

MAX_VECTORS = 16
MAX_VECTOR_BYTES = 2**31 - 1

DTYPES = frozenset({"|u1", "|i1", "<u2", "<i2", "<f2", "<u4", "<i4", "<f4", "<u8", "<i8", "<f8"})


def dtype_of(vector: NDArray[Any]) -> str:
    """Returns the dtype as numpy writes it, with its byte order: ``"<f4"``, ``"<u2"``, ``"|u1"``.

    Raises:
      MalformedMessage: the array is not one-dimensional, too large, or of a dtype that does not travel.

    >>> dtype_of(np.zeros(3, dtype=np.float32))
    '<f4'
    """
    dtype: str = vector.dtype.str
    if vector.ndim != 1:
        raise MalformedMessage(f"vector of shape {vector.shape}; only one-dimensional vectors travel")
    _check(dtype, vector.nbytes)
    return dtype


def nbytes(dtype: str, length: int) -> int:
    """Returns the size in bytes of ``length`` elements.

    Raises:
      MalformedMessage: the dtype does not travel, the length is negative, or the size is over the limit.
    """
    if dtype not in DTYPES or length < 0:
        raise MalformedMessage(
            f"vector of {length} × {dtype[:16]!r}; known dtypes: {', '.join(sorted(DTYPES))}"
        )
    size = np.dtype(dtype).itemsize * length
    _check(dtype, size)
    return size


def from_bytes(data: bytes | bytearray | memoryview, *, dtype: str, length: int) -> NDArray[Any]:
    """Returns the vector as a view of ``data``, writable if ``data`` is.

    Raises:
      MalformedMessage: the dtype does not travel, or the bytes are not exactly ``length`` elements.
    """
    size = nbytes(dtype, length)
    if memoryview(data).nbytes != size:
        raise MalformedMessage(f"{memoryview(data).nbytes} bytes for {length} × {dtype}; expected {size}")
    return np.frombuffer(data, dtype=np.dtype(dtype))


def _check(dtype: str, size: int) -> None:
    if dtype not in DTYPES:
        raise MalformedMessage(f"vector of dtype {dtype!r}; known dtypes: {', '.join(sorted(DTYPES))}")
    if size > MAX_VECTOR_BYTES:
        raise MalformedMessage(f"vector of {size} bytes; at most {MAX_VECTOR_BYTES} travel in one")
