"""Unambiguous bytes to sign and to hash: a label, then every part with its length before it.

Two different sequences of parts never give the same bytes, and two labels never meet: what is
signed for one purpose cannot be shown for another.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Final, TypeAlias

Part: TypeAlias = bytes | str | int
"""What may be framed: bytes as they are, text as UTF-8, an integer 0 ≤ i < 2⁶⁴ as eight bytes."""


_SHORT: Final = 256
_LENGTHS: Final = tuple(size.to_bytes(8, "big") for size in range(_SHORT))


def frame(label: str, *parts: Part) -> bytes:
    """Returns the label and the parts, each preceded by its length in eight big-endian bytes.

    Part types are not recorded: the position of a part under a label fixes its type.

    >>> frame("a", 7).hex()
    '00000000000000016100000000000000080000000000000007'

    Raises:
      OverflowError: an integer is negative or does not fit eight bytes.
    """
    framed = [_framed_text(label)]
    add = framed.append
    for part in parts:
        if isinstance(part, bytes):
            size = len(part)
            add(_LENGTHS[size] if size < _SHORT else size.to_bytes(8, "big"))
            add(part)
        else:
            add(_framed_text(part) if isinstance(part, str) else _framed(part))
    return b"".join(framed)


def digest(label: str, *parts: Part) -> bytes:
    """Returns the SHA-256 (32 bytes) of the frame."""
    return hashlib.sha256(frame(label, *parts)).digest()


def _framed(part: bytes | int) -> bytes:
    raw = part.to_bytes(8, "big") if isinstance(part, int) else bytes(part)
    return len(raw).to_bytes(8, "big") + raw


@lru_cache(maxsize=8192)
def _framed_text(part: str) -> bytes:
    # Labels and client ids: the same few, thousands of times in a session.
    return _framed(part.encode())
