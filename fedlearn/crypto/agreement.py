"""A secret between two: X25519 (RFC 7748), then HKDF-SHA256 (RFC 5869) bound to its purpose.

>>> alice, bob = AgreementKey.generate(), AgreementKey.generate()
>>> alice.derive(bob.public, info=b"seals") == bob.derive(alice.public, info=b"seals")
True
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from fedlearn.crypto.entropy import random_bytes
from fedlearn.crypto.shared_answers import shared_secret
from fedlearn.errors import KeyMisuse

KEY_BYTES = 32
_SHA256: Final = SHA256()


class AgreementKey:
    """An X25519 private key of one session; its representation never shows it."""

    def __init__(self, private: bytes) -> None:
        if len(private) != KEY_BYTES:
            raise KeyMisuse(f"an agreement key of {len(private)} bytes; an X25519 key has {KEY_BYTES}")
        self._raw = private
        self._private = X25519PrivateKey.from_private_bytes(private)
        # With each peer once: masking with it, sealing to it and opening from it take keys of one agreement.
        self._agreed: dict[bytes, bytes] = {}
        self.public: bytes = self._private.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        return f"AgreementKey(public={self.public.hex()})"

    @classmethod
    def generate(cls) -> Self:
        """Returns a fresh key, from 32 bytes of the operating system."""
        return cls(random_bytes(KEY_BYTES))

    def to_bytes(self) -> bytes:
        """Returns the 32 secret bytes as they were drawn (not clamped)."""
        return self._raw

    def derive(self, peer: bytes, *, info: bytes) -> bytes:
        """Returns 32 bytes that only the two key holders can compute.

        Args:
          peer: the other public key, 32 bytes.
          info: the purpose; other information gives independent bytes.

        Raises:
          KeyMisuse: the peer's key is malformed or of low order, so that the secret would be known.
        """
        if peer not in self._agreed:
            # Both ends of a pair compute the same from either private key and the other public one.
            pair = self.public + peer if self.public < peer else peer + self.public
            self._agreed[peer] = shared_secret(pair, lambda: self._extracted(peer))
        return _expanded(self._agreed[peer], info)

    def check_peer(self, peer: bytes) -> None:
        """Raises KeyMisuse as :meth:`derive` does; remembers nothing of the peer."""
        self._exchanged(peer)

    def _extracted(self, peer: bytes) -> bytes:
        return HKDF.extract(_SHA256, None, self._exchanged(peer))

    def _exchanged(self, peer: bytes) -> bytes:
        try:
            return self._private.exchange(_parsed(peer))
        except ValueError:
            raise KeyMisuse(f"public key {peer.hex()} is malformed or of low order") from None


@lru_cache(maxsize=4096)
def _parsed(public: bytes) -> X25519PublicKey:
    # A process that is many clients meets the same public keys at each of them.
    return X25519PublicKey.from_public_bytes(public)


def derive_key(secret: bytes, *, info: bytes) -> bytes:
    """Returns the HKDF-SHA256 of ``secret``, 32 bytes, without salt, for the purpose ``info``."""
    return _expanded(HKDF.extract(_SHA256, None, secret), info)


def _expanded(key: bytes, info: bytes) -> bytes:
    return HKDFExpand(_SHA256, KEY_BYTES, info).derive(key)
