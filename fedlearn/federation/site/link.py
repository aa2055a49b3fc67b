"""The link: the SuperNode that carries a site's messages, kept running.

It holds no key but the node's, and may run as a user that can reach nothing but the agent's socket.
"""

from __future__ import annotations

from fedlearn.federation import hurried
from fedlearn.federation.relay import SOCKET_KEY
from fedlearn.federation.site.config import SiteConfig


def command(config: SiteConfig) -> list[str]:
    """Returns the command line of the SuperNode."""
    link = config.link
    return [
        *hurried.program("supernode", fast_poll=link.fast_poll, warm=link.warm),
        "--superlink",
        link.superlink,
        "--root-certificates",
        str(config.path(link.ca)),
        "--auth-supernode-private-key",
        str(config.path(link.node_key)),
        "--node-config",
        f'{SOCKET_KEY}="{config.path(config.socket)}"',
        "--host",
        "127.0.0.1",
        "--port",
        str(link.port),
    ]
