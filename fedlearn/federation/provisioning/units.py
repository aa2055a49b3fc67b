"""systemd units and Compose files, generated rather than described.

Agent and SuperNode run as two users. The SuperNode's, under which code sent by the server runs, can
write nowhere but its own state, and reach nothing of the site's but the agent's socket.
"""

from __future__ import annotations

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

_AGENT = """\
# Holds records, keys and budget of site {site}. Reaches no network.
[Unit]
Description=fedlearn site agent ({site})
After=local-fs.target

[Service]
User=fedlearn-agent
Group=fedlearn-agent
SupplementaryGroups=fedlearn-link
ExecStart=/opt/fedlearn/bin/fedlearn site run --part agent --config /etc/fedlearn/site.toml
Restart=always
RestartSec=2
TimeoutStopSec=120
StateDirectory=fedlearn
RuntimeDirectory=fedlearn
RuntimeDirectoryMode=0711
RestrictAddressFamilies=AF_UNIX AF_INET
IPAddressDeny=any
IPAddressAllow=localhost
{hardening}
[Install]
WantedBy=multi-user.target
"""

_LINK = """\
# Carries messages between the server and the agent's socket. Code sent by the server runs as this user.
[Unit]
Description=fedlearn site link ({site})
After=network-online.target fedlearn-agent.service
Wants=network-online.target

[Service]
User=fedlearn-link
Group=fedlearn-link
ExecStart=/opt/fedlearn/bin/fedlearn site run --part link --config /etc/fedlearn-link/site.toml
Restart=always
RestartSec=5
StateDirectory=fedlearn-link
InaccessiblePaths=/etc/fedlearn /var/lib/fedlearn
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
{hardening}
[Install]
WantedBy=multi-user.target
"""

_SERVER = """\
[Unit]
Description=fedlearn server
After=network-online.target
Wants=network-online.target

[Service]
User=fedlearn-server
Group=fedlearn-server
ExecStart=/opt/fedlearn/bin/fedlearn server run --config /etc/fedlearn/server.toml
Restart=always
RestartSec=5
TimeoutStopSec=60
StateDirectory=fedlearn
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
{hardening}
[Install]
WantedBy=multi-user.target
"""

_SITE_COMPOSE = """\
# Two containers of one image (your own: pip install fedlearn), two users, one shared socket.
services:
  agent:
    image: ${{FEDLEARN_IMAGE}}
    user: "10001:10002"
    command: fedlearn site run --part agent --config /etc/fedlearn/site.toml
    network_mode: none
    read_only: true
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    restart: always
    stop_grace_period: 2m
    volumes:
      - .:/etc/fedlearn:ro
      - state:/etc/fedlearn/state
      - socket:/etc/fedlearn/run
      - ${{FEDLEARN_DATA}}:/data:ro
    tmpfs: [/tmp]
  link:
    image: ${{FEDLEARN_IMAGE}}
    user: "10003:10002"
    command: fedlearn site run --part link --config /etc/fedlearn/site.toml
    read_only: true
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    restart: always
    depends_on: [agent]
    volumes:
      - ./site.toml:/etc/fedlearn/site.toml:ro
      - ./ca.crt:/etc/fedlearn/ca.crt:ro
      - ./node.key:/etc/fedlearn/node.key:ro
      - link-state:/etc/fedlearn/state
      - socket:/etc/fedlearn/run
    tmpfs: [/tmp]
volumes:
  state:
  link-state:
  socket:
# site {site}
"""

_SERVER_COMPOSE = """\
services:
  server:
    image: ${FEDLEARN_IMAGE}
    user: "10001:10001"
    command: fedlearn server run --config /etc/fedlearn/server.toml
    read_only: true
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    restart: always
    volumes:
      - .:/etc/fedlearn:ro
      - state:/etc/fedlearn/state
    expose: ["9092"]
    tmpfs: [/tmp]
  proxy:
    image: ${NGINX_IMAGE}
    ports: ["443:443"]
    depends_on: [server]
    volumes:
      - ./nginx.conf:/etc/nginx/nginx.conf:ro
      - ./server.pem:/etc/fedlearn/server.pem:ro
      - ./server.key:/etc/fedlearn/server.key:ro
      - ./ca.crt:/etc/fedlearn/ca.crt:ro
volumes:
  state:
"""

_NGINX = """\
# Lets sites reach Flower's fleet API and nothing else: the control API on the same port asks for no password.
events {}
http {
  server {
    listen 443 ssl;
    ssl_certificate /etc/fedlearn/server.pem;
    ssl_certificate_key /etc/fedlearn/server.key;
    client_max_body_size 0;
    proxy_request_buffering off;
    location /v1/fleet/ {
      proxy_pass https://server:9092;
      proxy_ssl_trusted_certificate /etc/fedlearn/ca.crt;
      proxy_ssl_verify on;
      proxy_ssl_name localhost;
      proxy_read_timeout 300s;
    }
    location / { return 403; }
  }
}
"""


def site_files(site: str) -> dict[str, str]:
    """Returns the files of a site's kit that start it."""
    return {
        "fedlearn-agent.service": _AGENT.format(site=site, hardening=_HARDENING),
        "fedlearn-link.service": _LINK.format(site=site, hardening=_HARDENING),
        "compose.yaml": _SITE_COMPOSE.format(site=site),
    }


def server_files() -> dict[str, str]:
    """Returns the files of the server's kit that start it."""
    return {
        "fedlearn-server.service": _SERVER.format(hardening=_HARDENING),
        "compose.yaml": _SERVER_COMPOSE,
        "nginx.conf": _NGINX,
    }
