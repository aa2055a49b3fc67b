"""Who signed: the long-term Ed25519 key of a client or a consortium (RFC 8032).

>>> key = SigningKey.generate()
>>> verify(key.public, key.sign(b"a roster"), b"a roster")
>>> verify(key.public, key.sign(b"a roster"), b"another")
Traceback (most recent call last):
    ...
fedlearn.errors.TamperedMessage: a signature does not verify
"""

from __future__ import annotations

from functools import lru_cache
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fedlearn.crypto.entropy import random_bytes
from fedlearn.errors import KeyMisuse, TamperedMessage

KEY_BYTES = 32
SIGNATURE_BYTES = 64


class SigningKey:
    """An Ed25519 private key; its representation never shows it."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public: bytes = private.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        return f"SigningKey(public={self.public.hex()})"

    @classmethod
    def generate(cls) -> Self:
        """Returns a fresh key, from 32 bytes of the operating system."""
        return cls.from_bytes(random_bytes(KEY_BYTES))

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Returns the key of 32 secret bytes, as :meth:`to_bytes` gave them.

        Raises:
          KeyMisuse: not 32 bytes.
        """
        if len(raw) != KEY_BYTES:
            raise KeyMisuse(f"a signing key of {len(raw)} bytes; an Ed25519 key has {KEY_BYTES}")
        return cls(Ed25519PrivateKey.from_private_bytes(raw))

    def to_bytes(self) -> bytes:
        """Returns the 32 secret bytes; whoever reads them can sign as this client."""
        return self._private.private_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """Returns the signature, 64 bytes; equal messages have equal signatures."""
        return self._private.sign(message)


def verify(public: bytes, signature: bytes, message: bytes) -> None:
    """Returns if ``signature`` was made for ``message`` by the owner of ``public`` (32 bytes).

    Raises:
      TamperedMessage: the signature does not verify, or key or signature are malformed.
    """
    if not _verifies(public, signature, message):
        raise TamperedMessage("a signature does not verify")


def verify_each_once() -> None:
    """Lets this process remember from now on which signatures it has verified, of messages up to 4 KB.

    For a process that is many clients: all of them check the same signatures. What is remembered is the
    answer to the same key, signature and message, so that nothing else verifies than before.
    """
    global _verifies  # noqa: PLW0603  # of a process, like the clients in it
    remembered = lru_cache(maxsize=_REMEMBERED)(_does_verify)

    def verifies(public: bytes, signature: bytes, message: bytes) -> bool:
        return (remembered if len(message) <= _LONGEST else _does_verify)(public, signature, message)

    _verifies = verifies


def _does_verify(public: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


_verifies = _does_verify
_REMEMBERED, _LONGEST = 8192, 4096
