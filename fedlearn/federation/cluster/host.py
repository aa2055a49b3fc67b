"""A host of clients on one machine of a Ray cluster: what is sent to it are frames, as through a socket.

Keys are made where their clients live and stay there; only their public halves are sent.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

import fedlearn
from fedlearn.crypto.identity import SigningKey
from fedlearn.errors import MalformedMessage, RunDirectoryError
from fedlearn.federation import frames
from fedlearn.federation.assignment import Assignment, Settle
from fedlearn.federation.failure import Failure
from fedlearn.federation.host import Host
from fedlearn.registry import import_path
from fedlearn.rounds.transport import Message
from fedlearn.runs.directory import RunDirectory


@dataclass(frozen=True, kw_only=True)
class Enrolled:
    """What a host says about itself.

    Attributes:
      public: client id → public key, 32 bytes.
      machine: name of its machine.
      process: its process id.
      version: of the fedlearn that is installed there.
    """

    public: dict[str, bytes]
    machine: str
    process: int
    version: str


class ActorHost:
    """The clients that live in one actor; its methods are called through Ray."""

    def __init__(self) -> None:
        self._keys: dict[str, SigningKey] = {}
        self._host = Host({})

    def enrol(self, clients: Sequence[str]) -> Enrolled:
        """Makes a signing key for each client; returns their public halves."""
        self._keys = {name: SigningKey.generate() for name in clients}
        return Enrolled(
            public={name: key.public for name, key in self._keys.items()},
            machine=socket.gethostname(),
            process=os.getpid(),
            version=fedlearn.__version__,
        )

    def settle(self, told: Assignment, *, settle: str, shared: bool) -> Failure | None:
        """Makes the clients that are enrolled here; returns why they cannot be made, if they cannot.

        Args:
          told: the run, without private keys.
          settle: ``"package.module:function"`` that makes the clients of an assignment.
          shared: whether they need the run directory, where they keep what stays with them between rounds.
        """
        try:
            if shared:
                _check_directory(told)
            make: Settle = import_path(settle)
            keys = {name: key.to_bytes() for name, key in self._keys.items()}
            self._host = Host(make(msgspec.structs.replace(told, keys=keys)))
        except Exception as error:
            return Failure.of(error)
        return None

    def answer(self, frame: bytes) -> bytes:
        """Returns a client's reply to a request, both as frames; a loss for what goes wrong.

        Raises:
          MalformedMessage: the bytes are no request.
        """
        request = frames.unpack(frame)
        if not isinstance(request, Message):
            raise MalformedMessage(f"a loss of client {request.client!r} is no request")
        return frames.pack(self._host.answer(request))

    def stay(self) -> None:
        """Never returns: whoever waits for it learns that this process has ended."""
        threading.Event().wait()


def _check_directory(told: Assignment) -> None:
    """Raises RunDirectoryError if this machine does not see the directory of this very run."""
    path = Path(told.directory)
    try:
        seen = RunDirectory(path).experiment() == told.experiment
    except RunDirectoryError:
        seen = False
    if not seen:
        raise RunDirectoryError(
            f"{path} is not the directory of this run here: clients keep what stays with them between rounds"
            " in it, so choose a folder with --out that all machines of the cluster share"
        )
