"""Who belongs to a federation: its sites and its server, signed by the consortium.

Secure aggregation needs the keys of clients only (:class:`fedlearn.secagg.roster.Roster`). On real
machines two more count: the server's, because a site does nothing that this key has not signed, and
each site's node key, by which Flower knows its SuperNode. The server is no member: whoever is one
could be put into a cohort.

>>> from fedlearn.crypto.identity import SigningKey
>>> consortium, server, oslo = (SigningKey.generate() for _ in range(3))
>>> member = Member(key=oslo.public, node="ecdsa-sha2-nistp384 AAAA")
>>> roster = FederationRoster(name="hearts", version=1, server=server.public, members={"oslo": member})
>>> FederationRoster.open(roster.sign(consortium), consortium=consortium.public) == roster
True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Self

import msgspec

from fedlearn.crypto.framing import digest, frame
from fedlearn.crypto.identity import KEY_BYTES, SIGNATURE_BYTES, SigningKey, verify
from fedlearn.errors import ConfigError, MalformedMessage, RosterMismatch, TamperedMessage
from fedlearn.secagg.roster import Roster

MAX_BYTES = 4 * 2**20
_LABEL = "fedlearn-federation/1|roster"

Key = Annotated[bytes, msgspec.Meta(min_length=KEY_BYTES, max_length=KEY_BYTES)]
Name = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")]


class Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One site's public keys.

    Attributes:
      key: Ed25519, 32 bytes: signs its messages, its ledger and its part in secure aggregation.
      node: ECDSA in OpenSSH's one-line form: by it Flower authenticates the SuperNode.
    """

    key: Key
    node: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]


@dataclass(frozen=True, kw_only=True)
class FederationRoster:
    """The sites and the server of a federation.

    Attributes:
      name: of the federation.
      version: counted up with every change; a site takes no step back.
      server: the server's Ed25519 public key, 32 bytes.
      members: site → its keys.
      digest: SHA-256 over all of it; in every proposal.
    """

    name: str
    version: int
    server: bytes
    members: Mapping[str, Member]
    digest: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.server in {member.key for member in self.members.values()}:
            raise ConfigError("the server has the key of a site; it needs one of its own")
        members = MappingProxyType(dict(sorted(self.members.items())))
        object.__setattr__(self, "members", members)
        object.__setattr__(self, "digest", digest(_LABEL, *_parts(self)))

    @property
    def clients(self) -> Roster:
        """The sites as secure aggregation knows them."""
        return Roster(version=self.version, members={name: one.key for name, one in self.members.items()})

    def sign(self, consortium: SigningKey) -> bytes:
        """Returns the roster with the consortium's signature."""
        return msgspec.msgpack.encode(
            _Signed(
                name=self.name,
                version=self.version,
                server=self.server,
                members=dict(self.members),
                signature=consortium.sign(frame(_LABEL, *_parts(self))),
            )
        )

    @classmethod
    def open(cls, body: bytes, *, consortium: bytes) -> Self:
        """Returns the roster that the consortium signed.

        Raises:
          MalformedMessage: the body does not decode.
          RosterMismatch: it is not signed by the consortium.
        """
        if len(body) > MAX_BYTES:
            raise MalformedMessage(f"roster of {len(body)} bytes; at most {MAX_BYTES} are read")
        try:
            signed = msgspec.msgpack.decode(body, type=_Signed)
            roster = cls(
                name=signed.name, version=signed.version, server=signed.server, members=signed.members
            )
            _ = roster.clients  # distinct keys, printable names
            verify(consortium, signed.signature, frame(_LABEL, *_parts(roster)))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ConfigError) as error:
            raise MalformedMessage(f"roster does not decode: {error}") from None
        except TamperedMessage:
            raise RosterMismatch("the roster is not signed by the pinned consortium key") from None
        return roster


def check_succession(roster: FederationRoster, *, version: int, pinned: bytes) -> None:
    """Raises RosterMismatch if the roster is older than the pinned one, or another of its version."""
    if roster.version < version or (roster.version == version and roster.digest != pinned):
        raise RosterMismatch(
            f"roster version {roster.version} does not follow the pinned version {version};"
            " ask the consortium for the current one"
        )


def _parts(roster: FederationRoster) -> list[bytes | str | int]:
    members = [part for name, one in sorted(roster.members.items()) for part in (name, one.key, one.node)]
    return [roster.name, roster.version, roster.server, len(roster.members), *members]


class _Signed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="federation/1"):
    name: Name
    version: Annotated[int, msgspec.Meta(ge=1, le=2**62)]
    server: Key
    members: Annotated[dict[Name, Member], msgspec.Meta(max_length=4096)]
    signature: Annotated[bytes, msgspec.Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]
