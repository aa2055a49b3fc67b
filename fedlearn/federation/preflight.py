"""Checks before a start: each gives one line, ok or how to mend it. Shared by site and server."""

from __future__ import annotations

import datetime
import os
import shutil
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any

from cryptography import x509

from fedlearn.errors import FedLearnError
from fedlearn.federation.envelope import check_clock

NEEDED_BYTES = 2**30
SOON_DAYS = 30


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check found.

    Attributes:
      what: what was looked at.
      ok: whether it is in order.
      detail: what was found; if it is not in order, how to mend it.
    """

    what: str
    ok: bool
    detail: str

    def to_dict(self) -> dict[str, Any]:
        """Returns it as JSON-able values."""
        return asdict(self)


def checked(what: str, check: Callable[[], str]) -> Finding:
    """Returns the finding of a check that returns what it found or raises what is wrong."""
    try:
        return Finding(what=what, ok=True, detail=check())
    except FedLearnError as error:
        return Finding(what=what, ok=False, detail=f"{type(error).__name__}: {error}")
    except (OSError, ValueError, HTTPException) as error:
        return Finding(what=what, ok=False, detail=f"{type(error).__name__}: {error}")


def disk(folder: Path) -> str:
    """Returns how much is free; raises ValueError if it is less than a gigabyte."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < NEEDED_BYTES:
        raise ValueError(f"{free / 2**30:.1f} GiB free below {existing}; free at least 1 GiB")
    return f"{free / 2**30:.0f} GiB free"


def certificate(path: Path, *, now: datetime.datetime | None = None) -> str:
    """Returns until when a certificate holds; raises ValueError if it does not hold now."""
    now = now or datetime.datetime.now(datetime.UTC)
    found = x509.load_pem_x509_certificate(path.read_bytes())
    begins, ends = found.not_valid_before_utc, found.not_valid_after_utc
    if now < begins:
        raise ValueError(f"{path} holds from {begins:%Y-%m-%d %H:%M} UTC: the clock is behind, or it is new")
    if now > ends:
        raise ValueError(
            f"{path} expired on {ends:%Y-%m-%d}: `fedlearn provision renew`, or the clock is ahead"
        )
    left = (ends - now).days
    return f"holds until {ends:%Y-%m-%d}" + (f", {left} days: renew it" if left < SOON_DAYS else "")


def tls(address: str, *, ca: Path) -> str:
    """Returns what the server presents; raises OSError or ValueError if it cannot be reached or believed."""
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context(cafile=str(ca))
    try:
        with (
            socket.create_connection((host, int(port)), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname=host.strip("[]")) as connection,
        ):
            return f"{address} speaks {connection.version()}, certificate chains to {ca.name}"
    except ssl.SSLCertVerificationError as error:
        of_time = "expired" in error.verify_message or "not yet" in error.verify_message
        hint = "check the clock" if of_time else "is this the right ca.crt, and the name in the certificate?"
        raise ValueError(f"{address}: {error.verify_message}; {hint}") from None
    except OSError as error:
        raise ValueError(
            f"{address} cannot be reached: {error}; is the server up, is the port open?"
        ) from None


def clock(address: str, *, ca: Path, now: Callable[[], float] = time.time) -> str:
    """Returns how far this machine's clock is from the server's, by the date of an HTTPS answer.

    Raises:
      FedLearnError: so far that messages would be refused.
      OSError: the server cannot be reached or believed.
      ValueError: it tells no time.
    """
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context(cafile=str(ca))
    connection = HTTPSConnection(host.strip("[]"), int(port), timeout=10, context=context)
    with closing(connection):
        connection.request("HEAD", "/")
        date = connection.getresponse().getheader("Date", "")
    told = parsedate_to_datetime(date).timestamp()
    check_clock(told, now=now())
    return f"{abs(now() - told):.0f} s from the server's"


def port_is_free(host: str, port: int) -> str:
    """Returns that nobody listens; raises ValueError if somebody does."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ValueError(f"port {port} of {host}: {error.strerror}; stop what listens there") from None
    return f"port {port} is free"


def control_api(host: str) -> str:
    """Returns who can reach the SuperLink's control API, which asks for no password.

    Raises:
      ValueError: it listens on more than this machine, so whoever reaches the port can submit runs to Flower.
    """
    if host in {"127.0.0.1", "::1", "localhost"}:
        return "reachable from this machine only"
    raise ValueError(
        f"host={host!r}: Flower's control API shares the port and asks for no password; listen on 127.0.0.1"
        " and let a proxy forward /v1/fleet/ only (nginx.conf in the kit), or close the port to all but sites"
    )


def python_user() -> str:
    """Returns the user that this process runs as; raises ValueError for root."""
    if os.geteuid() == 0:
        raise ValueError("this is root; run as a user of its own (the generated units do)")
    return f"user {os.geteuid()}"
