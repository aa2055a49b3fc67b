"""Who a site is and whom it believes: its key, and the roster that may only move forward."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from fedlearn.crypto.identity import SigningKey
from fedlearn.errors import ConfigError, RosterMismatch, UnknownClient
from fedlearn.federation.private_files import read_signing_key
from fedlearn.federation.roster import FederationRoster, check_succession
from fedlearn.federation.site.config import SiteConfig
from fedlearn.rounds.checkpoint import write_atomically

PIN = "roster.pin"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A site's key and the roster that it is on.

    Attributes:
      key: signs replies, ledger rows and secure aggregation.
      roster: as the consortium signed it; at least as new as any seen before.
    """

    key: SigningKey = field(repr=False)
    roster: FederationRoster

    @classmethod
    def load(cls, config: SiteConfig) -> Identity:
        """Returns the site's identity and pins the roster's version.

        Raises:
          UnsafeFile: the key is readable by others.
          RosterMismatch: the roster is forged, or older than one seen before.
          UnknownClient: the site is not on it, or under another key: revoked, or not yet signed.
        """
        key = read_signing_key(config.path(config.key))
        roster = read_roster(config.path(config.roster), consortium=bytes.fromhex(config.consortium))
        pin = config.path(config.state) / PIN
        _check_pin(roster, pin)
        member = roster.members.get(config.site)
        if member is None or member.key != key.public:
            state = "not on" if member is None else "under another key on"
            raise UnknownClient(
                f"site {config.site!r} is {state} roster version {roster.version}: it was revoked, or its"
                " request was not signed yet; ask the consortium"
            )
        write_atomically(pin, json.dumps({"version": roster.version, "digest": roster.digest.hex()}).encode())
        return cls(key=key, roster=roster)


def read_roster(path: Path, *, consortium: bytes) -> FederationRoster:
    """Returns the roster in a file; raises ConfigError if it is missing, else see its ``open``."""
    try:
        body = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"roster {path} cannot be read: {error.strerror}") from None
    return FederationRoster.open(body, consortium=consortium)


def _check_pin(roster: FederationRoster, pin: Path) -> None:
    try:
        values = json.loads(pin.read_text(encoding="utf-8"))
        version, digest = int(values["version"]), bytes.fromhex(values["digest"])
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError):
        raise RosterMismatch(f"{pin} is damaged; restore it from a backup, or ask the consortium") from None
    check_succession(roster, version=version, pinned=digest)
