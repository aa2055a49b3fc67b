"""systemd units and what installs them, generated rather than described.

Agent and SuperNode run as two users. The SuperNode's, under which code sent by the server runs, can
write nowhere but its own state, and reach nothing of the site's but the agent's socket.
"""

from __future__ import annotations

AGENT, LINK, SERVER = "/var/lib/fedlearn", "/var/lib/fedlearn-link", "/var/lib/fedlearn-server"
"""Folders that the parts are installed in; settings and state of a part lie in its own."""

_HARDENING = """\
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
RestrictSUIDSGID=yes
LockPersonality=yes
CapabilityBoundingSet=
UMask=0077
"""

_AGENT_UNIT = """\
# Holds records, keys and budget of site {site}. Reaches no network.
[Unit]
Description=fedlearn site agent ({site})
After=local-fs.target

[Service]
User=fedlearn-agent
Group=fedlearn-agent
SupplementaryGroups=fedlearn-link
ExecStart=/opt/fedlearn/bin/fedlearn site run --part agent --config {agent}/site.toml
Restart=always
RestartSec=2
TimeoutStopSec=120
StateDirectory=fedlearn
StateDirectoryMode=0700
RuntimeDirectory=fedlearn
RuntimeDirectoryMode=0711
RestrictAddressFamilies=AF_UNIX AF_INET
IPAddressDeny=any
IPAddressAllow=localhost
{hardening}
[Install]
WantedBy=multi-user.target
"""

_LINK_UNIT = """\
# Carries messages between the server and the agent's socket. Code sent by the server runs as this user.
[Unit]
Description=fedlearn site link ({site})
After=network-online.target fedlearn-agent.service
Wants=network-online.target

[Service]
User=fedlearn-link
Group=fedlearn-link
ExecStart=/opt/fedlearn/bin/fedlearn site run --part link --config {link}/site.toml
Restart=always
RestartSec=5
StateDirectory=fedlearn-link
StateDirectoryMode=0700
InaccessiblePaths=-{agent}
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
{hardening}
[Install]
WantedBy=multi-user.target
"""

_SERVER_UNIT = """\
[Unit]
Description=fedlearn server
After=network-online.target
Wants=network-online.target

[Service]
User=fedlearn-server
Group=fedlearn-server
ExecStart=/opt/fedlearn/bin/fedlearn server run --config {server}/server.toml
Restart=always
RestartSec=5
TimeoutStopSec=60
StateDirectory=fedlearn-server
StateDirectoryMode=0700
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
{hardening}
[Install]
WantedBy=multi-user.target
"""

_INSTALL = """\
#!/bin/sh
# Installs this kit where its units expect it, each part for a user of its own. Run it as root, in this
# folder, and again after any file here has changed; state is left alone.
set -eu

user() {{
  id "$1" >/dev/null 2>&1 || useradd --system --user-group --home-dir / --shell /usr/sbin/nologin "$1"
}}

put() {{ # USER FOLDER FILE...
  owner=$1 folder=$2
  shift 2
  user "$owner"
  install -d -o "$owner" -g "$owner" -m 0700 "$folder"
  install -o "$owner" -g "$owner" -m 0600 "$@" "$folder"
}}

start() {{ # UNIT...
  install -m 0644 "$@" /etc/systemd/system
  systemctl daemon-reload
  systemctl enable "$@"
  systemctl restart "$@"
}}

{steps}"""

_SITE_STEPS = """\
grep -q '^user = "fedlearn-link"$' site.toml || {{
  echo 'site.toml: say user = "fedlearn-link" in [link] first' >&2
  exit 1
}}
put fedlearn-agent {agent} site.toml roster.bin ca.crt site.key
put fedlearn-link {link} site.toml ca.crt node.key
ln -sfn /run/fedlearn {agent}/run
ln -sfn /run/fedlearn {link}/run
start fedlearn-agent.service fedlearn-link.service
"""

_SERVER_STEPS = """\
put fedlearn-server {server} server.toml roster.bin ca.crt server.pem server.key signing.key
start fedlearn-server.service
"""

INSTALLER = "install.sh"


def site_units(site: str) -> dict[str, str]:
    """Returns the units of a site's kit, and what installs them."""
    values = {"site": site, "agent": AGENT, "link": LINK, "hardening": _HARDENING}
    return {
        "fedlearn-agent.service": _AGENT_UNIT.format(**values),
        "fedlearn-link.service": _LINK_UNIT.format(**values),
        INSTALLER: _INSTALL.format(steps=_SITE_STEPS.format(**values)),
    }


def server_units() -> dict[str, str]:
    """Returns the unit of the server's kit, and what installs it."""
    values = {"server": SERVER, "hardening": _HARDENING}
    return {
        "fedlearn-server.service": _SERVER_UNIT.format(**values),
        INSTALLER: _INSTALL.format(steps=_SERVER_STEPS.format(**values)),
    }
