"""The machine's limit: the keystream that masks are expanded from, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fedlearn.crypto.prg import CHUNK_BYTES, Keystream


def keystream(size: int) -> Callable[[], None]:
    """Expands at least ``size`` bytes of AES-128-CTR into one chunk, over and over: the machine's limit."""
    stream, chunk = Keystream.from_os(), np.empty(CHUNK_BYTES, np.uint8)

    def expand() -> None:
        for _ in range(chunks_of(size)):
            stream.fill(chunk)

    return expand


def chunks_of(size: int) -> int:
    """Chunks that hold ``size`` bytes."""
    return -(-size // CHUNK_BYTES)
