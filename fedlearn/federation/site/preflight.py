"""``fedlearn site check``: everything that a start needs."""

from __future__ import annotations

from fedlearn.config import DevicesConfig
from fedlearn.federation import preflight
from fedlearn.federation.preflight import Finding, checked
from fedlearn.federation.private_files import read_private, read_signing_key
from fedlearn.federation.site.config import LEDGER, SiteConfig
from fedlearn.federation.site.data import SiteData
from fedlearn.federation.site.identity import Identity
from fedlearn.federation.site.participation import device_of
from fedlearn.federation.site.socket_service import check_socket_path
from fedlearn.privacy.chain import check_chain, check_signer
from fedlearn.privacy.release import read


def check_site(config: SiteConfig) -> list[Finding]:
    """Returns one finding per check, in the order in which to mend them."""
    return [
        checked("keys", lambda: _keys(config)),
        checked("roster", lambda: _roster(config)),
        checked("data", lambda: _data(config)),
        checked("ledger", lambda: _ledger(config)),
        checked("policy", lambda: _policy(config)),
        checked("device", lambda: _device(config)),
        checked("disk", lambda: preflight.disk(config.path(config.state))),
        checked("authority", lambda: preflight.certificate(config.path(config.link.ca))),
        checked("server", lambda: preflight.tls(config.link.superlink, ca=config.path(config.link.ca))),
        checked("clock", lambda: preflight.clock(config.link.superlink, ca=config.path(config.link.ca))),
        checked("users", lambda: _users(config)),
        checked("socket", lambda: f"a path of {check_socket_path(config.path(config.socket))} bytes"),
    ]


def _keys(config: SiteConfig) -> str:
    key = read_signing_key(config.path(config.key))
    read_private(config.path(config.link.node_key))
    return f"private; the site's public key is {key.public.hex()[:16]}…"


def _roster(config: SiteConfig) -> str:
    roster = Identity.load(config).roster
    return f"version {roster.version} of {roster.name}, {len(roster.members)} sites"


def _data(config: SiteConfig) -> str:
    data = SiteData(config)
    schema = data.schema
    return f"{config.data.source} loads: shape {schema.shape}, {schema.classes} classes"


def _ledger(config: SiteConfig) -> str:
    path = config.path(config.state) / LEDGER
    if not path.exists():
        return "none yet: nothing was spent"
    rows = read(path)
    check_chain(rows)
    check_signer(rows, read_signing_key(config.path(config.key)).public)
    return f"{len(rows)} rows, the chain holds"


def _policy(config: SiteConfig) -> str:
    policy = config.policy
    plain = "also in the clear" if policy.allow_plain else "masked only"
    noise = " or ".join(policy.noise)
    return (
        f"ε ≤ {policy.max_epsilon:g} at δ ≤ {policy.max_delta:g} per {policy.unit} over all runs;"
        f" {noise} noise; {plain}"
    )


def _device(config: SiteConfig) -> str:
    device = device_of(config.limits.device, DevicesConfig())
    return f"{device.name}, {config.limits.threads} threads"


def _users(config: SiteConfig) -> str:
    if config.link.user is None:
        return "agent and link run as one user: for trying only"
    return f"the link runs as {config.link.user}"
