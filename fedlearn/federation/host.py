"""A resident process that clients live in: ``python -m fedlearn.federation.host SOCKET``.

A secure-aggregation session has secrets that must outlive a message and may not leave a process.
Whatever engine carries the messages therefore only relays them to the one process that a client
lives in from the first round to the last.

The process reads its :class:`~fedlearn.federation.assignment.Assignment` from standard input, writes
``ready`` to standard output once it listens, and ends when standard input does: with its parent.
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import BinaryIO

from fedlearn.errors import FedLearnError, MalformedMessage
from fedlearn.federation import assignment, frames
from fedlearn.federation.assignment import Resident, Settle
from fedlearn.registry import import_path
from fedlearn.rounds.transport import Lost, Message

DEFAULT_SETTLE = "fedlearn.federation.residents:settle"
STALL_SECONDS = 60.0
READY = b"ready\n"

_log = logging.getLogger(__name__)


class Host:
    """Answers the requests that reach a listening socket, each on a thread of its own.

    One lock for all residents: they share a model's buffers, and there is a host per core.

    Args:
      residents: client id → client.
    """

    def __init__(self, residents: Mapping[str, Resident]) -> None:
        self._residents = residents
        self._busy = threading.Lock()

    def serve(self, listener: socket.socket) -> None:
        """Accepts connections until the listener is closed."""
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def answer(self, request: Message) -> Message | Lost:
        """Returns a resident's reply; an error that it did not turn into one is ours, logged, and a loss."""
        resident = self._residents.get(request.client)
        if resident is None:
            _log.error("client %r does not live here", request.client)
            return Lost(client=request.client, reason="failed")
        try:
            with self._busy:
                return resident.handle(request)
        except Exception:
            _log.exception("client %r failed", request.client)
            return Lost(client=request.client, reason="failed")

    def _converse(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(STALL_SECONDS)
            try:
                request = frames.receive(connection)
                if isinstance(request, Message):
                    frames.send(connection, self.answer(request))
            except (MalformedMessage, EOFError, OSError) as error:
                _log.warning("request dropped: %s: %s", type(error).__name__, error)


def main(arguments: list[str] | None = None) -> int:
    """Runs a host until its parent ends; returns the exit code if it cannot start."""
    parser = argparse.ArgumentParser(description="Hosts the clients of a simulated federation.")
    parser.add_argument("socket", help="path of the Unix socket to listen on")
    parser.add_argument(
        "--settle", default=DEFAULT_SETTLE, help="package.module:function that makes the clients"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    parent, ready = sys.stdin.buffer, _claim_stdout()
    try:
        told = assignment.read(parent)
        threading.Thread(target=_end_with_parent, args=(options.socket,), daemon=True).start()
        settle: Settle = import_path(options.settle)
        host = Host(settle(told))
        with _listen(options.socket) as listener:
            ready.write(READY)
            ready.close()
            host.serve(listener)
    except FedLearnError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return error.exit_code
    return 0


def _claim_stdout() -> BinaryIO:
    """Returns standard output for ourselves; what libraries print goes to standard error."""
    claimed = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return claimed


def _listen(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(128)
    return listener


def _end_with_parent(path: str) -> None:
    """Waits for the end of the parent's pipe, then ends this process, whatever it is doing."""
    while os.read(0, 4096):  # not through sys.stdin: its lock would be held at interpreter shutdown
        pass
    with suppress(OSError):  # a parent that was killed could not clean up
        os.unlink(path)
        os.rmdir(os.path.dirname(path))
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
