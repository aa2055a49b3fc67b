"""Signatures that a process of many clients verifies once each."""

from __future__ import annotations

import pytest

from fedlearn.crypto import identity
from fedlearn.crypto.identity import SigningKey, verify, verify_each_once
from fedlearn.errors import TamperedMessage


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Lets this process remember, and returns the messages that are verified in truth."""
    messages: list[bytes] = []
    truly = identity._does_verify

    def noted(public: bytes, signature: bytes, message: bytes) -> bool:
        messages.append(message)
        return truly(public, signature, message)

    monkeypatch.setattr(identity, "_does_verify", noted)
    monkeypatch.setattr(identity, "_verifies", noted)
    verify_each_once()
    return messages


def test_the_same_signature_is_verified_once(checked: list[bytes]) -> None:
    key = SigningKey.generate()
    for _ in range(3):
        verify(key.public, key.sign(b"a"), b"a")
    assert checked == [b"a"]


def test_whatever_differs_is_verified_anew_and_refused(checked: list[bytes]) -> None:
    key, other = SigningKey.generate(), SigningKey.generate()
    signature = key.sign(b"a")
    verify(key.public, signature, b"a")
    for public, signed, message in (
        (other.public, signature, b"a"),
        (key.public, other.sign(b"a"), b"a"),
        (key.public, signature, b"b"),
        (key.public, signature[:-1], b"a"),
        (key.public[:-1], signature, b"a"),
    ):
        for _ in range(2):
            with pytest.raises(TamperedMessage):
                verify(public, signed, message)
    assert len(checked) == 6


def test_long_messages_are_not_kept(checked: list[bytes]) -> None:
    key, long = SigningKey.generate(), bytes(4097)
    for _ in range(2):
        verify(key.public, key.sign(long), long)
    assert len(checked) == 2


def test_without_it_each_is_verified_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    key, asked = SigningKey.generate(), list[bytes]()

    def noted(public: bytes, signature: bytes, message: bytes) -> bool:
        asked.append(message)
        return identity._does_verify(public, signature, message)

    monkeypatch.setattr(identity, "_verifies", noted)
    for _ in range(2):
        verify(key.public, key.sign(b"a"), b"a")
    assert len(asked) == 2
