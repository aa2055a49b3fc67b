"""A 32-byte seed made long: AES-128-CTR (SP 800-38A), 16 bytes of key and 16 of initial counter.

Faster than any generator of numpy on a machine with AES instructions, so there is no reason for
an insecure one. One seed is used for one stream: the same seed gives the same bytes.

>>> Keystream(bytes(32)).take(2, "<u2").tolist()
[59750, 54347]
"""

from __future__ import annotations

from typing import Any, Final, Self

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import DTypeLike, NDArray

from fedlearn.crypto.entropy import random_bytes
from fedlearn.errors import ConfigError

SEED_BYTES: Final = 32
CHUNK_BYTES: Final = 1 << 17
"""Bytes that are expanded at a time: two such buffers stay in a core's L2 cache."""

# Zeroed memory that is never written is one page of the system mapped over and over: reading it costs
# no cache.
_ZEROS: Final = memoryview(bytes(CHUNK_BYTES))


class Keystream:
    """The pseudo-random bytes of one seed, in order.

    Args:
      seed: 32 secret bytes, 16 of AES key and 16 of initial counter.

    Raises:
      ConfigError: the seed has another length.
    """

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise ConfigError(f"a seed of {len(seed)} bytes; a keystream needs {SEED_BYTES}")
        self._encryptor = Cipher(AES(seed[:16]), CTR(seed[16:])).encryptor()

    @classmethod
    def from_os(cls) -> Self:
        """Returns the stream of a fresh seed of the operating system."""
        return cls(random_bytes(SEED_BYTES))

    def fill(self, out: NDArray[Any]) -> None:
        """Overwrites a contiguous one-dimensional array with the next bytes of the stream."""
        self.expand_into(out.view(np.uint8).data)

    def expand_into(self, out: memoryview) -> None:
        """Overwrites bytes with the next ones of the stream: what :meth:`fill` does, on a view made once."""
        size = len(out)
        if size <= CHUNK_BYTES:
            self._encryptor.update_into(_ZEROS[:size], out)
            return
        for start in range(0, size, CHUNK_BYTES):
            piece = out[start : start + CHUNK_BYTES]
            self._encryptor.update_into(_ZEROS[: len(piece)], piece)

    def take(self, count: int, dtype: DTypeLike) -> NDArray[Any]:
        """Returns the next ``count`` items of an integer type, shape (count,)."""
        out: NDArray[Any] = np.empty(count, dtype)
        self.fill(out)
        return out
