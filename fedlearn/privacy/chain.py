"""The ledger's rows: each hashes the one before it, and is signed by the site.

Whoever holds a later head (length and digest) recognises a ledger from which rows were removed,
changed or reordered, and an old copy that was put back. A site may change its key: the row that says so is
signed by the new one and endorsed by the old, so that whoever knows either can verify the whole ledger.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fedlearn.crypto.identity import SigningKey, verify
from fedlearn.errors import PrivacyError, TamperedLedger, TamperedMessage

_DOMAIN = b"fedlearn ledger 1\x00"
_KEY_DOMAIN = b"fedlearn ledger key 1\x00"
_NOTHING = bytes(32)
_HANDED = "handed over"


@dataclass(frozen=True, kw_only=True)
class Head:
    """What identifies everything up to a row: how many rows, and the digest of the last.

    >>> Head.parse("2:" + "00" * 32).length
    2
    """

    length: int
    digest: bytes

    def __str__(self) -> str:
        return f"{self.length}:{self.digest.hex()}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """Returns the head that ``str`` wrote; raises PrivacyError if it is none."""
        length, _, digest = text.partition(":")
        try:
            head = cls(length=int(length), digest=bytes.fromhex(digest))
        except ValueError:
            head = cls(length=0, digest=b"")
        if head.length < 1 or len(head.digest) != len(_NOTHING):
            raise PrivacyError(f"{text!r} is no ledger head; it reads LENGTH:64-HEX-DIGITS")
        return head


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row as stored.

    Attributes:
      body: canonical JSON, the only content.
      digest: SHA-256 over the digest of the row before and the body, 32 bytes.
      signature: the site's signature of the digest.
    """

    body: bytes
    digest: bytes
    signature: bytes

    @property
    def values(self) -> dict[str, Any]:
        """The content, read from JSON."""
        values: dict[str, Any] = json.loads(self.body)
        return values


def next_row(values: dict[str, Any], *, after: bytes | None, sign: Callable[[bytes], bytes]) -> Row:
    """Returns the signed row that follows the digest ``after``; None begins a chain."""
    body = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    digest = link(after, body)
    return Row(body=body, digest=digest, signature=sign(digest))


def link(after: bytes | None, body: bytes) -> bytes:
    """Returns the digest of a row: SHA-256(domain ‖ digest before ‖ body)."""
    return hashlib.sha256(_DOMAIN + (after or _NOTHING) + body).digest()


def check_chain(rows: Iterable[Row], *, known: Head | None = None) -> None:
    """Returns if every row hashes the one before it and the chain passes through the ``known`` head.

    Raises:
      TamperedLedger: a row was changed, removed or reordered; or the chain ends before ``known`` or
        passes it by: an old copy was put back.
    """
    head, seen = None, known is None
    for row in rows:
        head = follow(head, row)
        seen = seen or head == known
    if not seen and known is not None:
        raise gone_back(head, known)


def follow(head: Head | None, row: Row) -> Head:
    """Returns the head after one more row; raises TamperedLedger if the row does not follow from it."""
    length = 1 if head is None else head.length + 1
    if row.digest != link(None if head is None else head.digest, row.body):
        raise TamperedLedger(
            f"ledger row {length} does not follow from row {length - 1}: it was changed;"
            " restore the newest copy"
        )
    return Head(length=length, digest=row.digest)


def gone_back(head: Head | None, known: Head) -> TamperedLedger:
    """Returns the error of a chain that should contain the head ``known`` and does not."""
    return TamperedLedger(
        f"the ledger of {head.length if head else 0} rows does not contain the head known elsewhere (row"
        f" {known.length}, {known.digest.hex()[:16]}…): an old or foreign copy was put back;"
        " restore the newest copy"
    )


def change_of_key(*, after: bytes, before: SigningKey, to: SigningKey) -> Row:
    """Returns the row that follows the digest ``after``, with which the owner's key changes.

    The new key signs it and so vouches, through the chain, for every row before; the old key vouches in it
    for the new one.
    """
    endorsement = before.sign(_endorsed(after, to.public))
    values = {"state": _HANDED, "before": before.public.hex(), "public": to.public.hex()}
    return next_row({**values, "endorsement": endorsement.hex()}, after=after, sign=to.sign)


def check_signatures(rows: Sequence[Row], public: bytes) -> bytes:
    """Returns the key that signs from now on, if the owner signed every row of a whole chain.

    Args:
      rows: the chain, oldest first.
      public: any key that the owner has, or had.

    Raises:
      TamperedLedger: a row is signed by another, or ``public`` is none of the owner's keys.
    """
    handed = dict(_handed_over(rows))
    key, keys = public, {public}
    for length, row in enumerate(rows, start=1):
        try:
            if length == 1 and handed:
                key = bytes.fromhex(handed[min(handed)]["before"])
                keys = {key}
            if length in handed:
                key = _successor(handed[length], key, after=rows[length - 2].digest)
                keys.add(key)
            verify(key, row.signature, row.digest)
        except (TamperedMessage, ValueError, TypeError, KeyError):
            raise TamperedLedger(f"ledger row {length} is not signed by the ledger's owner") from None
    if public not in keys:
        raise TamperedLedger(f"{public.hex()[:16]}… was never the key of this ledger's owner")
    return key


def check_signer(rows: Sequence[Row], public: bytes) -> None:
    """Returns if the owner signed every row of a whole chain, and ``public`` is the key that signs the next.

    Raises:
      TamperedLedger: a row is signed by another, or another key has taken over. What this one signed would
        be nobody's row.
    """
    present = check_signatures(rows, public)
    if present != public:
        raise TamperedLedger(
            f"the ledger was handed over to key {present.hex()[:16]}…, and {public.hex()[:16]}… signs no more"
            " rows of it; use the new key"
        )


def _handed_over(rows: Sequence[Row]) -> Iterator[tuple[int, dict[str, str]]]:
    for length, row in enumerate(rows, start=1):
        # looked for in the bytes first: there may be many rows, and of these there are few
        if length > 1 and _HANDED.encode() in row.body and (values := row.values).get("state") == _HANDED:
            yield length, values


def _endorsed(after: bytes, public: bytes) -> bytes:
    return hashlib.sha256(_KEY_DOMAIN + after + public).digest()


def _successor(values: dict[str, str], key: bytes, *, after: bytes) -> bytes:
    """Returns the key that takes over from ``key``; raises TamperedMessage if that did not vouch for it."""
    successor = bytes.fromhex(values["public"])
    verify(key, bytes.fromhex(values["endorsement"]), _endorsed(after, successor))
    return successor
