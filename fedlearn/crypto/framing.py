"""Unambiguous bytes to sign and to hash: a label, then every part with its length before it.

Two different sequences of parts never give the same bytes, and two labels never meet: what is
signed for one purpose cannot be shown for another.
"""

from __future__ import annotations

import hashlib
from typing import TypeAlias

Part: TypeAlias = bytes | str | int
"""What may be framed: bytes as they are, text as UTF-8, an integer 0 ≤ i < 2⁶⁴ as eight bytes."""


def frame(label: str, *parts: Part) -> bytes:
    """Returns the label and the parts, each preceded by its length in eight big-endian bytes.

    Part types are not recorded: the position of a part under a label fixes its type.

    >>> frame("a", 7).hex()
    '00000000000000016100000000000000080000000000000007'

    Raises:
      OverflowError: an integer is negative or does not fit eight bytes.
    """
    pieces = [_encoded(part) for part in (label, *parts)]
    return b"".join(len(piece).to_bytes(8, "big") + piece for piece in pieces)


def digest(label: str, *parts: Part) -> bytes:
    """Returns the SHA-256 (32 bytes) of the frame."""
    return hashlib.sha256(frame(label, *parts)).digest()


def _encoded(part: Part) -> bytes:
    if isinstance(part, int):
        return part.to_bytes(8, "big")
    return part.encode() if isinstance(part, str) else bytes(part)
