"""Which of Flower's nodes is which site: by the node key that the consortium signed for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
    load_ssh_public_key,
)

from fedlearn.federation.roster import Member


class Nodes:
    """The connected nodes of a grid, by site.

    Args:
      grid: Flower's.
      members: site → its keys.
    """

    def __init__(self, grid: Any, members: Mapping[str, Member]) -> None:
        self._grid = grid
        self._sites = {_identity(member.node.encode()): site for site, member in members.items()}

    def connected(self) -> dict[str, int]:
        """Returns site → node id of the sites that are connected; Flower notices a dead one after 60 s."""
        found = {}
        for node in self._grid.get_nodes():
            site = self._sites.get(_identity(bytes(node.public_key)))
            if site is not None:
                found[site] = int(node.node_id)
        return found

    def route(self, site: str) -> int | None:
        """Returns the node of a site; None while it is not connected."""
        return self.connected().get(site)


def _identity(key: bytes) -> bytes:
    """Returns a public key in one canonical form, whether it came as OpenSSH or PEM; itself if neither."""
    for load in (load_pem_public_key, load_ssh_public_key):
        try:
            return load(key).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        except (ValueError, UnsupportedAlgorithm):
            continue
    return key
