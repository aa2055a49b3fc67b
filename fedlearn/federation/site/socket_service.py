"""The agent's Unix socket: who may connect, how much may be sent, one message at a time."""

from __future__ import annotations

import os
import pwd
import re
import socket
import struct
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from fedlearn.errors import ConfigError, MalformedMessage
from fedlearn.federation import frames
from fedlearn.federation.site.journal import told
from fedlearn.rounds.transport import Lost, Message

STALL_SECONDS = 60.0
MAX_CONNECTIONS = 8
LONGEST_PATH = 100
"""Bytes of a socket's path; Linux ends at 107, other systems a little earlier."""
_CREDENTIALS = struct.Struct("3i")


class SocketService:
    """Hands the messages of allowed users to a handler, one after another, on one thread.

    Args:
      handler: answers a message; called on one thread only.
      users: ids of the users that may connect.
      max_bytes: largest message, vectors included; larger ones are refused from their header.
      seconds: how long the handler may take; then ``overdue`` is called.
      overdue: ends the process, which whoever supervises it starts again.
      stall: seconds that a connection may be silent in the middle of a message.
    """

    def __init__(
        self,
        handler: Callable[[Message], Message | Lost],
        *,
        users: frozenset[int],
        max_bytes: int,
        seconds: float,
        overdue: Callable[[], None],
        stall: float = STALL_SECONDS,
    ) -> None:
        self._handler = handler
        self._users = users
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._overdue = overdue
        self._stall = stall
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="agent")
        self._places = threading.BoundedSemaphore(MAX_CONNECTIONS)

    def on_worker(self, task: Callable[[], None]) -> Future[None]:
        """Runs a task on the handler's thread: what it opens there, the handler may use."""
        return self._worker.submit(task)

    def serve(self, listener: socket.socket) -> None:
        """Accepts connections until the listener is closed."""
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            user = peer_user(connection)
            if user not in self._users or not self._places.acquire(blocking=False):
                told("connection refused", uid=user)
                connection.close()
                continue
            threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def close(self) -> None:
        """Waits for the message that is being handled; takes no other."""
        self._worker.shutdown(wait=True, cancel_futures=True)

    def _converse(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(self._stall)
            try:
                request = frames.receive(connection, max_bytes=self._max_bytes)
                if isinstance(request, Message):
                    frames.send(connection, self._handled(request))
            except (MalformedMessage, EOFError, OSError, RuntimeError) as error:
                told("connection dropped", error=type(error).__name__, reason=str(error)[:200])
            finally:
                self._places.release()

    def _handled(self, request: Message) -> Message | Lost:
        return self._worker.submit(self._watched, request).result()

    def _watched(self, request: Message) -> Message | Lost:
        """Handles a message under a clock: training that does not end can only be ended with its process."""
        alarm = threading.Timer(self._seconds, self._overdue)
        alarm.daemon = True
        alarm.start()
        try:
            return self._handler(request)
        finally:
            alarm.cancel()


def check_socket_path(path: Path) -> int:
    """Returns the length of a socket's path in bytes; raises ConfigError above ``LONGEST_PATH``."""
    length = len(os.fsencode(path))
    if length > LONGEST_PATH:
        raise ConfigError(
            f"socket {path} has a path of {length} bytes, at most {LONGEST_PATH} are taken; choose a folder"
            " with a shorter one"
        )
    return length


def listen(path: Path, *, group: int | None = None) -> socket.socket:
    """Returns a listening socket that only this user, and one group if given, can connect to.

    Raises:
      ConfigError: the path is too long, or another agent listens there.
    """
    check_socket_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        _refuse_second_agent(path)
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    former = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(former)
    if group is not None:
        os.chown(path, -1, group)
        path.chmod(0o660)
    listener.listen(MAX_CONNECTIONS)
    return listener


def _refuse_second_agent(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, suppress(OSError):
        probe.connect(str(path))
        raise ConfigError(f"an agent listens at {path} already; stop it first")


def peer_user(connection: socket.socket) -> int:
    """Returns the id of the user at the other end, as the kernel knows it."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(raw)[1])


def user_and_group(name: str | None) -> tuple[int, int | None]:
    """Returns the ids of the SuperNode's user and its group; this user and None where none is named.

    Args:
      name: of the user, or ``UID:GID`` where it has no name, as in a container.

    Raises:
      ConfigError: no such user.
    """
    if name is None:
        return os.geteuid(), None
    if numbers := re.fullmatch(r"([0-9]{1,9}):([0-9]{1,9})", name):
        return int(numbers[1]), int(numbers[2])
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise ConfigError(f"link.user={name!r} is no user of this machine; create it first") from None
    return entry.pw_uid, entry.pw_gid
