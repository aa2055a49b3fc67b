"""Who signed: the long-term Ed25519 key of a client or a consortium (RFC 8032).

>>> key = SigningKey.generate()
>>> verify(key.public, key.sign(b"a roster"), b"a roster")
>>> verify(key.public, key.sign(b"a roster"), b"another")
Traceback (most recent call last):
    ...
fedlearn.errors.TamperedMessage: a signature does not verify
"""

from __future__ import annotations

from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fedlearn.crypto.entropy import random_bytes
from fedlearn.crypto.shared_answers import shared_result
from fedlearn.errors import KeyMisuse, TamperedMessage

KEY_BYTES = 32
SIGNATURE_BYTES = 64
_TRUE, _FALSE = b"\1" * 32, bytes(32)
_LONGEST_SHARED = 4096


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
    if len(message) > _LONGEST_SHARED:
        result = _verifies(public, signature, message)
    else:
        result = shared_result((public, signature, message), lambda: _verifies(public, signature, message))
    if result != _TRUE:
        raise TamperedMessage("a signature does not verify")


def _verifies(public: bytes, signature: bytes, message: bytes) -> bytes:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return _FALSE
    return _TRUE
