"""How a site is: what its agent and its link last wrote down, for ``site status`` and for Prometheus."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from fedlearn.errors import RunDirectoryError
from fedlearn.rounds.checkpoint import write_atomically

AGENT, LINK = "agent.json", "link.json"


def write(state: Path, name: str, values: Mapping[str, Any]) -> None:
    """Writes how one part is, with the id of this process."""
    write_atomically(state / name, json.dumps({"pid": os.getpid(), **values}).encode())


def read(state: Path, name: str) -> dict[str, Any]:
    """Returns how one part was when it last wrote, with ``alive``; ``{"alive": False}`` if never."""
    try:
        values: dict[str, Any] = json.loads((state / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"alive": False}
    except (OSError, ValueError) as error:
        raise RunDirectoryError(f"{state / name} cannot be read: {error}") from None
    return {**values, "alive": _alive(int(values.get("pid", 0)))}


def ready(state: Path, *parts: str) -> bool:
    """Returns whether the parts, by default agent and link, live and have said that they are ready."""
    found = [read(state, part) for part in parts or (AGENT, LINK)]
    return all(part["alive"] and part.get("ready") for part in found)


def serve_metrics(port: int, values: Callable[[], Mapping[str, float]]) -> ThreadingHTTPServer:
    """Serves ``/metrics`` in Prometheus' text form on the loopback interface, until shut down.

    Args:
      port: 0 takes a free one.
      values: metric without prefix → value, asked for at each request.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/metrics":
                self.send_error(404)
                return
            lines = "".join(f"fedlearn_site_{name} {value:.15g}\n" for name, value in values().items())
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(lines.encode())

        def log_message(self, format: str, *arguments: Any) -> None:
            """Says nothing: the log is for events of the site."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    return server


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid > 0
