"""Compose files and the proxy's settings, generated rather than described.

The containers of a site are of one image, which needs nothing but fedlearn: users are numbers, and a service
that runs once gives each of them its files.
"""

from __future__ import annotations

from fedlearn.federation.provisioning.units import SERVER

_HARDENED = """\
    read_only: true
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    restart: always
    tmpfs: [/tmp]
"""

_SETUP = """\
  setup:
    image: ${FEDLEARN_IMAGE:?}
    user: "0:0"
    network_mode: none
    entrypoint: [sh, -euc]
    command:
      - |
        cd /kit
"""

_SITE = """\
# Site {site}: two containers of one image (your own: pip install fedlearn), two users, one shared socket.
# site.toml says user = "10003:10003" in [link].
services:
{setup}\
        grep -q '^user = "10003:10003"$$' site.toml
        install -o 10001 -g 10001 -m 0600 site.toml roster.bin ca.crt site.key /agent
        install -o 10003 -g 10003 -m 0600 site.toml ca.crt node.key /link
        chown 10001:10001 /agent /socket
        chown 10003:10003 /link
        chmod 0700 /agent /link
        chmod 0711 /socket
    volumes: [".:/kit:ro", "agent:/agent", "link:/link", "socket:/socket"]
  agent:
    image: ${{FEDLEARN_IMAGE:?}}
    user: "10001:10001"
    group_add: ["10003"]
    command: fedlearn site run --part agent --config /fedlearn/site.toml
    network_mode: none
    depends_on: {{setup: {{condition: service_completed_successfully}}}}
    stop_grace_period: 2m
    volumes: ["agent:/fedlearn", "socket:/fedlearn/run", "${{FEDLEARN_DATA:?}}:/data:ro"]
{hardened}\
  link:
    image: ${{FEDLEARN_IMAGE:?}}
    user: "10003:10003"
    command: fedlearn site run --part link --config /fedlearn/site.toml
    depends_on: {{setup: {{condition: service_completed_successfully}}}}
    volumes: ["link:/fedlearn", "socket:/fedlearn/run"]
{hardened}\
volumes:
  agent: {{}}
  link: {{}}
  socket: {{}}
"""

_SERVER = """\
# The server, and the proxy before it: both see one loopback interface, on which the server listens.
services:
{setup}\
        install -o 10001 -g 10001 -m 0600 server.toml roster.bin ca.crt *.pem *.key /server
        chown 10001:10001 /server
        chmod 0700 /server
    volumes: [".:/kit:ro", "server:/server"]
  server:
    image: ${{FEDLEARN_IMAGE:?}}
    user: "10001:10001"
    command: fedlearn server run --config {server}/server.toml
    ports: ["{public_port}:{public_port}"]
    depends_on: {{setup: {{condition: service_completed_successfully}}}}
    stop_grace_period: 1m
    volumes: ["server:{server}"]
{hardened}\
  proxy:
    image: ${{NGINX_IMAGE:?}}
    network_mode: service:server
    depends_on: [server]
    restart: always
    volumes: ["./nginx.conf:/etc/nginx/nginx.conf:ro", "server:{server}:ro"]
volumes:
  server: {{}}
"""

_PROXY = """\
# Lets sites reach Flower's fleet API and nothing else: the control API on the same port asks for no password.
events {{}}
http {{
  server {{
    listen {public_port} ssl;
    ssl_certificate {server}/server.pem;
    ssl_certificate_key {server}/server.key;
    client_max_body_size 0;
    location /v1/fleet/ {{
      proxy_pass https://127.0.0.1:{port};
      proxy_http_version 1.1;
      proxy_request_buffering off;
      proxy_buffering off;
      proxy_read_timeout 300s;
      proxy_ssl_trusted_certificate {server}/ca.crt;
      proxy_ssl_verify on;
      proxy_ssl_name localhost;
    }}
    location / {{ return 403; }}
  }}
}}
"""


def site_containers(site: str) -> dict[str, str]:
    """Returns the Compose file of a site's kit."""
    return {"compose.yaml": _SITE.format(site=site, setup=_SETUP, hardened=_HARDENED)}


def server_containers(*, port: int, public_port: int) -> dict[str, str]:
    """Returns the Compose file and the proxy's settings of the server's kit.

    Args:
      port: that the server listens on.
      public_port: that sites connect to.
    """
    values = {"server": SERVER, "port": port, "public_port": public_port}
    compose = _SERVER.format(setup=_SETUP, hardened=_HARDENED, **values)
    return {"compose.yaml": compose, "nginx.conf": _PROXY.format(**values)}
