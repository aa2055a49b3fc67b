"""Sealed boxes: AES-256-GCM with the context bound as associated data.

>>> box = seal(bytes(32), b"a share", context=b"from a to b")
>>> open_sealed(bytes(32), box, context=b"from a to b")
b'a share'
>>> open_sealed(bytes(32), box, context=b"from b to a")
Traceback (most recent call last):
    ...
fedlearn.errors.TamperedMessage: a sealed box does not open
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fedlearn.crypto.entropy import random_bytes
from fedlearn.errors import TamperedMessage

NONCE_BYTES = 12
OVERHEAD_BYTES = NONCE_BYTES + 16


def seal(key: bytes, plaintext: bytes, *, context: bytes) -> bytes:
    """Returns nonce (12, random), ciphertext and tag (16) of ``plaintext``.

    Args:
      key: 32 bytes; at most 2³² boxes under one key.
      plaintext: what only the holder of the key shall read.
      context: what the box is bound to; not part of it, and needed to open it.
    """
    nonce = random_bytes(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plaintext, context)


def open_sealed(key: bytes, box: bytes, *, context: bytes) -> bytes:
    """Returns the plaintext of a box.

    Raises:
      TamperedMessage: another key, another context, or a byte was changed.
    """
    try:
        return AESGCM(key).decrypt(box[:NONCE_BYTES], box[NONCE_BYTES:], context)
    except (InvalidTag, ValueError):
        raise TamperedMessage("a sealed box does not open") from None
