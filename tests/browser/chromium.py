"""A headless Chromium over its DevTools protocol: opens a page, tells what the page did, draws it.

https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
_PATIENCE = 120.0
"""Seconds until a browser that does not answer counts as broken."""


def executable() -> str | None:
    """Returns the browser on this machine; None if there is none."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@dataclass
class Tab:
    """One page in a browser and everything that it has told.

    Attributes:
      events: what the browser reported of it, in order.
    """

    connection: ClientConnection
    session: str
    events: list[dict[str, Any]] = field(default_factory=list)
    _number: int = 0

    def ask(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Returns the browser's answer to a command."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": arguments, "sessionId": self.session}
        self.connection.send(json.dumps(message))
        while (answer := self._receive()).get("id") != self._number:
            pass
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, page: Path) -> None:
        """Opens a file and waits until it is loaded."""
        self.events.clear()
        self.ask("Page.navigate", url=page.resolve().as_uri())
        while not self.told("Page.loadEventFired"):
            self._receive()

    def look(self, *, width: int, height: int = 900, dark: bool = False) -> None:
        """Sets the size of the screen and whether it is dark; below 600 pixels it is a phone's."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", media="screen", features=[scheme])

    def evaluate(self, expression: str) -> Any:
        """Returns the value of a JavaScript expression."""
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"]["value"]

    def picture(self, *, whole: bool = False) -> bytes:
        """Returns what is on the screen, or the whole page, as a PNG file."""
        answer = self.ask(
            "Page.captureScreenshot", format="png", captureBeyondViewport=whole, **self._clip(whole)
        )
        return base64.b64decode(answer["data"])

    def printed(self) -> bytes:
        """Returns the page on paper, as a PDF file."""
        return base64.b64decode(self.ask("Page.printToPDF", printBackground=True)["data"])

    def told(self, method: str) -> list[dict[str, Any]]:
        """Returns the events of a kind since the page was opened."""
        return [event["params"] for event in self.events if event["method"] == method]

    def _clip(self, whole: bool) -> dict[str, Any]:
        if not whole:
            return {}
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}

    def _receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self.connection.recv(timeout=_PATIENCE))
        if "method" in message:
            self.events.append(message)
        return message


@contextmanager
def chromium(program: str) -> Iterator[Tab]:
    """Starts a browser with a profile of its own and yields its page; ends it afterwards."""
    with tempfile.TemporaryDirectory(prefix="fedlearn-chromium-", ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "HOME": profile, "XDG_CACHE_HOME": profile, "XDG_CONFIG_HOME": profile},
        )
        try:
            with connect(_address(process), max_size=None, open_timeout=_PATIENCE) as connection:
                yield _tab(connection)
        finally:
            process.kill()
            process.wait()
            assert process.stderr is not None
            process.stderr.close()


def _address(process: subprocess.Popen[str]) -> str:
    """Returns where the browser listens, which it writes on its standard error."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("DevTools listening on "):
            return line.removeprefix("DevTools listening on ").strip()
    raise AssertionError("the browser ended before it listened")


def _tab(connection: ClientConnection) -> Tab:
    browser = Tab(connection=connection, session="")
    connection.send(json.dumps({"id": 0, "method": "Target.createTarget", "params": {"url": "about:blank"}}))
    target = _answer(connection, 0)["targetId"]
    attach = {"targetId": target, "flatten": True}
    connection.send(json.dumps({"id": -1, "method": "Target.attachToTarget", "params": attach}))
    browser.session = _answer(connection, -1)["sessionId"]
    for domain in ("Page", "Runtime", "Log", "Network"):
        browser.ask(f"{domain}.enable")
    return browser


def _answer(connection: ClientConnection, number: int) -> dict[str, Any]:
    while (message := json.loads(connection.recv(timeout=_PATIENCE))).get("id") != number:
        pass
    result: dict[str, Any] = message["result"]
    return result
