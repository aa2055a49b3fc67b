"""Whose keys count: the roster of a consortium, signed, versioned and pinned at every site.

>>> from fedlearn.crypto.identity import SigningKey
>>> consortium, hospital = SigningKey.generate(), SigningKey.generate()
>>> roster = Roster(version=2, members={"hospital-1": hospital.public})
>>> open_roster(roster.sign(consortium), consortium=consortium.public) == roster
True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated

import msgspec

from fedlearn.crypto.framing import digest, frame
from fedlearn.crypto.identity import KEY_BYTES, SIGNATURE_BYTES, SigningKey, verify
from fedlearn.errors import ConfigError, MalformedMessage, RosterMismatch, TamperedMessage

MAX_ID_BYTES = 128
_LABEL = "fedlearn-secagg/1|roster"
_MAX_BODY_BYTES = 4 * 2**20


@dataclass(frozen=True, kw_only=True)
class Roster:
    """The clients of a consortium and the keys by which they are known.

    Attributes:
      version: counted up by the consortium with every change; at least 1.
      members: client id → Ed25519 public key, 32 bytes; read-only. Keys are distinct.
      digest: SHA-256 over version and members; it is in every session.
    """

    version: int
    members: Mapping[str, bytes]
    digest: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not 1 <= self.version < 2**63:
            raise ConfigError(f"version={self.version} must be at least 1 and below 2^63")
        for client, key in self.members.items():
            _check_member(client, key)
        if len(set(self.members.values())) != len(self.members):
            raise ConfigError("two members of the roster have one key; every client needs its own")
        # A copy, sorted: nobody can change the roster behind its digest.
        members = MappingProxyType(dict(sorted(self.members.items())))
        object.__setattr__(self, "members", members)
        object.__setattr__(self, "digest", digest(_LABEL, *_parts(self)))

    def __reduce__(self) -> tuple[object, tuple[int, dict[str, bytes]]]:
        return _rebuilt, (self.version, dict(self.members))

    def sign(self, consortium: SigningKey) -> bytes:
        """Returns the roster with the consortium's signature, for :func:`open_roster`."""
        signature = consortium.sign(frame(_LABEL, *_parts(self)))
        body = _SignedRoster(version=self.version, members=dict(self.members), signature=signature)
        return _encoder.encode(body)


def open_roster(body: bytes, *, consortium: bytes, pinned: Roster | None = None) -> Roster:
    """Returns a roster that the consortium signed and that is no step back.

    Args:
      body: what :meth:`Roster.sign` gave.
      consortium: the consortium's public key, 32 bytes.
      pinned: the roster in use; None at the first.

    Raises:
      MalformedMessage: the body does not decode.
      RosterMismatch: not signed by the consortium, older than the pinned one, or of its version and
        different.
    """
    if len(body) > _MAX_BODY_BYTES:
        raise MalformedMessage(f"roster of {len(body)} bytes; at most {_MAX_BODY_BYTES} are read")
    try:
        signed = _decoder.decode(body)
        roster = Roster(version=signed.version, members=signed.members)
        verify(consortium, signed.signature, frame(_LABEL, *_parts(roster)))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ConfigError) as error:
        raise MalformedMessage(f"roster does not decode: {error}") from None
    except TamperedMessage:
        raise RosterMismatch("the roster is not signed by the pinned consortium key") from None
    if _encoder.encode(signed) != body:
        raise MalformedMessage("roster is not in its canonical form")
    _check_succession(roster, pinned)
    return roster


def _check_succession(roster: Roster, pinned: Roster | None) -> None:
    if pinned is None or roster.digest == pinned.digest:
        return
    if roster.version <= pinned.version:
        raise RosterMismatch(
            f"roster version {roster.version} does not follow the pinned version {pinned.version};"
            " ask the consortium for the current one"
        )


def _check_member(client: str, key: bytes) -> None:
    if not (client.isascii() and client.isprintable() and 0 < len(client) <= MAX_ID_BYTES):
        raise ConfigError(f"client id {client!r} must be 1 to {MAX_ID_BYTES} printable ASCII characters")
    if len(key) != KEY_BYTES:
        raise ConfigError(f"key of client {client!r} has {len(key)} bytes; an Ed25519 key has {KEY_BYTES}")


def _parts(roster: Roster) -> list[bytes | str | int]:
    return [roster.version, len(roster.members), *(part for item in roster.members.items() for part in item)]


def _rebuilt(version: int, members: dict[str, bytes]) -> Roster:
    return Roster(version=version, members=members)


class _SignedRoster(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="roster/1"):
    version: int
    members: dict[
        Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_BYTES)],
        Annotated[bytes, msgspec.Meta(min_length=KEY_BYTES, max_length=KEY_BYTES)],
    ]
    signature: Annotated[bytes, msgspec.Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_SignedRoster)
