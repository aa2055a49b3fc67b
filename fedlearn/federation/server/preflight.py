"""``fedlearn server check``: everything that a start needs."""

from __future__ import annotations

from fedlearn.errors import UnknownClient
from fedlearn.federation import preflight
from fedlearn.federation.preflight import Finding, checked
from fedlearn.federation.private_files import read_private, read_signing_key
from fedlearn.federation.server.config import ServerConfig
from fedlearn.federation.site.identity import read_roster


def check_server(config: ServerConfig) -> list[Finding]:
    """Returns one finding per check, in the order in which to mend them."""
    return [
        checked("keys", lambda: _keys(config)),
        checked("roster", lambda: _roster(config)),
        checked("certificate", lambda: preflight.certificate(config.path(config.certificate))),
        checked("authority", lambda: preflight.certificate(config.path(config.ca))),
        checked("port", lambda: preflight.port_is_free(config.host, config.port)),
        checked("control API", lambda: preflight.control_api(config.host)),
        checked("disk", lambda: preflight.disk(config.path(config.state))),
    ]


def _keys(config: ServerConfig) -> str:
    read_private(config.path(config.certificate_key))
    return (
        f"private; the server's public key is {read_signing_key(config.path(config.key)).public.hex()[:16]}…"
    )


def _roster(config: ServerConfig) -> str:
    roster = read_roster(config.path(config.roster), consortium=bytes.fromhex(config.consortium))
    if roster.server != read_signing_key(config.path(config.key)).public:
        raise UnknownClient("the roster has another server key: sites would not believe this one")
    return (
        f"version {roster.version} of {roster.name}, {len(roster.members)} sites: {', '.join(roster.members)}"
    )
