"""The link: the SuperNode that carries a site's messages, kept running.

It holds no key but the node's, and may run as a user that can reach nothing but the agent's socket.
"""

from __future__ import annotations

import sys
from pathlib import Path

from fedlearn.federation.relay import SOCKET_KEY
from fedlearn.federation.site.config import SiteConfig

SUPERNODE = str(Path(sys.executable).with_name("flower-supernode"))


def command(config: SiteConfig) -> list[str]:
    """Returns the command line of the SuperNode."""
    link = config.link
    program = (
        [sys.executable, "-m", "fedlearn.federation.site.fast_supernode"] if link.fast_poll else [SUPERNODE]
    )
    return [
        *program,
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
