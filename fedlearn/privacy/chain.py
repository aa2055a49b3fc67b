"""The ledger's rows: each hashes the one before it, and is signed by the site.

Whoever holds a later head (length and digest) recognises a ledger from which rows were removed,
changed or reordered, and an old copy that was put back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fedlearn.errors import PrivacyError, TamperedLedger, TamperedMessage

_DOMAIN = b"fedlearn ledger 1\x00"
_NOTHING = bytes(32)


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


def check_signatures(rows: Sequence[Row], verify: Callable[[bytes, bytes], None]) -> None:
    """Calls ``verify(signature, digest)`` on every row.

    Raises:
      TamperedLedger: it raised TamperedMessage on one; says which.
    """
    for length, row in enumerate(rows, start=1):
        try:
            verify(row.signature, row.digest)
        except TamperedMessage:
            raise TamperedLedger(f"ledger row {length} is not signed by the ledger's owner") from None
