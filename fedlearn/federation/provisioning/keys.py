"""A site's own keys, made where they stay, and the request that asks the consortium to sign them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from fedlearn.crypto.framing import frame
from fedlearn.crypto.identity import SIGNATURE_BYTES, SigningKey, verify
from fedlearn.errors import MalformedMessage, UnsafeFile
from fedlearn.federation.private_files import (
    read_private,
    read_signing_key,
    write_private,
    write_signing_key,
)
from fedlearn.federation.provisioning.certificates import new_node_key, node_public
from fedlearn.federation.roster import Key, Member, Name
from fedlearn.privacy.handover import hand_over

MAX_REQUEST_BYTES = 16 * 2**10
_LABEL = "fedlearn-federation/1|request"


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="request/1"):
    """A site's public keys, signed with the private half of the first: proof that it has it.

    Attributes:
      site: the site.
      key: Ed25519, 32 bytes.
      node: the SuperNode's, one line.
      signature: over the three.
    """

    site: Name
    key: Key
    node: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
    signature: Annotated[bytes, msgspec.Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]

    @property
    def member(self) -> Member:
        """The keys as a roster has them."""
        return Member(key=self.key, node=self.node)


def make_keys(site: str, *, key: Path, node_key: Path) -> Request:
    """Makes a site's two private keys, mode 0600, and returns the request for them.

    Raises:
      UnsafeFile: one of the files exists; nothing is overwritten.
    """
    existing = [path for path in (key, node_key) if path.exists()]
    if existing:
        raise UnsafeFile(f"{existing[0]} exists; a private key is never overwritten: move it away first")
    write_signing_key(key, SigningKey.generate())
    write_private(node_key, new_node_key())
    return _request_for(site, key=key, node_key=node_key)


def replace_keys(site: str, *, key: Path, node_key: Path, ledger: Path) -> Request:
    """Makes new private keys, hands the site's ledger over to them, and returns the request for them.

    The old keys stay beside the new ones, as ``NAME.before``. Nobody may have the ledger open. Called again
    after it was cut off at whatever step, it goes on with the new keys that it made, ``NAME.next``.

    Raises:
      UnsafeFile: there is no old key, or ``NAME.before`` of an earlier replacement.
      TamperedLedger: the ledger is not the old key's.
    """
    own, node = _Replacement(key), _Replacement(node_key)
    if not (own.begun or node.begun) and (
        found := [one.before for one in (own, node) if one.before.exists()]
    ):
        raise UnsafeFile(f"{found[0]} exists; a private key is never overwritten: move it away first")
    former = read_signing_key(own.former)
    if own.unmade:
        write_signing_key(own.next, SigningKey.generate())
    if node.unmade:
        write_private(node.next, new_node_key())
    if ledger.exists():
        hand_over(ledger, before=former, to=read_signing_key(own.latest))
    own.take_place()
    node.take_place()
    return _request_for(site, key=key, node_key=node_key)


class _Replacement:
    """The files of a private key that another one takes the place of."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.before = path.with_name(f"{path.name}.before")
        self.next = path.with_name(f"{path.name}.next")

    @property
    def begun(self) -> bool:
        return self.next.exists()

    @property
    def unmade(self) -> bool:
        return not self.next.exists() and not self.before.exists()

    @property
    def former(self) -> Path:
        return self.before if self.before.exists() else self.path

    @property
    def latest(self) -> Path:
        return self.next if self.next.exists() else self.path

    def take_place(self) -> None:
        if not self.before.exists():
            self.path.rename(self.before)
        if self.next.exists():
            self.next.rename(self.path)


def _request_for(site: str, *, key: Path, node_key: Path) -> Request:
    own, node = read_signing_key(key), node_public(read_private(node_key))
    return Request(
        site=site, key=own.public, node=node, signature=own.sign(frame(_LABEL, site, own.public, node))
    )


def encode(request: Request) -> bytes:
    """Returns the request as a file's content."""
    return msgspec.json.encode(request) + b"\n"


def read_request(path: Path) -> Request:
    """Returns the request in a file.

    Raises:
      MalformedMessage: it does not decode.
      TamperedMessage: it is not signed by its own key.
    """
    try:
        body = path.read_bytes()
        if len(body) > MAX_REQUEST_BYTES:
            raise MalformedMessage(f"{path} has {len(body)} bytes; a request has fewer")
        request = msgspec.json.decode(body, type=Request)
    except OSError as error:
        raise MalformedMessage(f"{path} cannot be read: {error.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessage(f"{path} is no request of a site: {error}") from None
    verify(request.key, request.signature, frame(_LABEL, request.site, request.key, request.node))
    return request
