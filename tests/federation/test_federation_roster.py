"""The federation's roster: signed, canonical, and only ever moving forward."""

from __future__ import annotations

import pytest

from fedlearn.crypto.identity import SigningKey
from fedlearn.errors import ConfigError, FedLearnError, MalformedMessage, RosterMismatch
from fedlearn.federation.roster import FederationRoster, Member, check_succession

CONSORTIUM = SigningKey.from_bytes(b"c" * 32)
SERVER = SigningKey.from_bytes(b"s" * 32)


def roster(version: int = 1, sites: int = 3) -> FederationRoster:
    members = {
        f"site-{number}": Member(
            key=SigningKey.from_bytes(bytes([number]) * 32).public, node=f"node {number}"
        )
        for number in range(1, sites + 1)
    }
    return FederationRoster(name="test", version=version, server=SERVER.public, members=members)


def test_any_changed_byte_is_refused() -> None:
    signed = roster().sign(CONSORTIUM)
    for position in range(len(signed)):
        body = bytearray(signed)
        body[position] ^= 1
        with pytest.raises(FedLearnError):
            FederationRoster.open(bytes(body), consortium=CONSORTIUM.public)


def test_another_consortium_is_refused() -> None:
    with pytest.raises(RosterMismatch, match="not signed by the pinned consortium key"):
        FederationRoster.open(roster().sign(SERVER), consortium=CONSORTIUM.public)


def test_too_large_a_roster_is_refused_unread() -> None:
    with pytest.raises(MalformedMessage, match="at most"):
        FederationRoster.open(b"x" * (4 * 2**20 + 1), consortium=CONSORTIUM.public)


def test_the_server_may_not_have_the_key_of_a_site() -> None:
    with pytest.raises(ConfigError, match="key of a site"):
        FederationRoster(
            name="t", version=1, server=SERVER.public, members={"a": Member(key=SERVER.public, node="n")}
        )


def test_the_roster_takes_no_step_back() -> None:
    old, new = roster(2), roster(3)
    check_succession(new, version=2, pinned=old.digest)
    check_succession(old, version=2, pinned=old.digest)
    with pytest.raises(RosterMismatch, match="version 2 does not follow the pinned version 3"):
        check_succession(old, version=3, pinned=new.digest)
    with pytest.raises(RosterMismatch):
        check_succession(roster(3, sites=2), version=3, pinned=new.digest)


def test_secure_aggregation_sees_the_sites_and_not_the_server() -> None:
    clients = roster(4).clients
    assert clients.version == 4
    assert SERVER.public not in clients.members.values()
