"""The SuperLink: started with TLS and node authentication, waited for, and told of its nodes."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from fedlearn.errors import RunError
from fedlearn.federation import hurried
from fedlearn.federation.environment import party_environment
from fedlearn.federation.roster import Member
from fedlearn.federation.server.config import ServerConfig

FLWR = str(Path(sys.executable).with_name("flwr"))
CONNECTION = "federation"
READY_SECONDS = 60.0
_FRAME = " │╭╮╰╯─"
"""What Flower's command draws around an error."""


def command(config: ServerConfig) -> list[str]:
    """Returns the command line of the SuperLink."""
    return [
        *hurried.program("superlink", warm=config.warm),
        "--ssl-ca-certfile",
        str(config.path(config.ca)),
        "--ssl-certfile",
        str(config.path(config.certificate)),
        "--ssl-keyfile",
        str(config.path(config.certificate_key)),
        "--enable-supernode-auth",
        "--disable-runtime-dependency-installation",
        "--host",
        config.host,
        "--port",
        str(config.port),
    ]


def environment(config: ServerConfig) -> dict[str, str]:
    """Returns the environment of the SuperLink and of Flower's commands: state below ours, offline, quiet."""
    return party_environment(config.path(config.state) / "flwr")


def write_connection(config: ServerConfig) -> None:
    """Writes how Flower's commands reach the SuperLink: by the loopback interface, over TLS."""
    home = config.path(config.state) / "flwr"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    address = f"{loopback(config)}:{config.port}"
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "{CONNECTION}"\n\n[superlink.{CONNECTION}]\naddress = "{address}"\n'
        f'root-certificates = "{config.path(config.ca)}"\n',
        encoding="utf-8",
    )


def loopback(config: ServerConfig) -> str:
    """Returns the address by which the server reaches itself."""
    return "127.0.0.1" if config.host in {"0.0.0.0", "::"} else config.host  # noqa: S104  # compared only


def await_ready(config: ServerConfig, *, alive: Callable[[], bool], seconds: float = READY_SECONDS) -> None:
    """Returns once the SuperLink speaks TLS on its port.

    Raises:
      RunError: it ended, or did not within ``seconds``.
    """
    context = ssl.create_default_context(cafile=str(config.path(config.ca)))
    end = time.monotonic() + seconds
    while True:
        try:
            with (
                socket.create_connection((loopback(config), config.port), timeout=5) as plain,
                context.wrap_socket(plain, server_hostname=loopback(config)),
            ):
                return
        except ssl.SSLCertVerificationError as error:
            raise RunError(f"the server's certificate does not verify: {error.verify_message}") from None
        except OSError as error:
            if not alive() or time.monotonic() >= end:
                log = config.path(config.state) / "superlink.log"
                raise RunError(
                    f"the SuperLink does not listen on port {config.port}: {error}; see {log}"
                ) from None
            time.sleep(0.1)


def register(config: ServerConfig, members: Mapping[str, Member]) -> None:
    """Tells the SuperLink the node keys of the roster; it lets in nobody else.

    Raises:
      RunError: the SuperLink refuses; with the last words of Flower's command.
    """
    folder = config.path(config.state) / "nodes"
    folder.mkdir(mode=0o700, exist_ok=True)
    for site, member in members.items():
        (folder / f"{site}.pub").write_text(member.node + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "fedlearn.federation.server.register_nodes", CONNECTION]
    command += [str(folder / f"{site}.pub") for site in members]
    done = subprocess.run(  # noqa: S603  # our own module, by full path
        command, cwd=folder, env=environment(config), capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = [line.strip(_FRAME) for line in (done.stdout + done.stderr).splitlines()]
        said = [line for line in lines if line] or ["no output"]
        raise RunError(f"the SuperLink does not take the node keys: {said[-1]}")
