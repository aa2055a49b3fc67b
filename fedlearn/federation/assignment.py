"""What a resident process is told when it starts: the run, and the clients that live in it.

It travels once, through the pipe that is the process' standard input, because it holds signing
keys: they are never on a command line, in the environment or in a file.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import IO, Protocol, TypeAlias

import msgspec

from fedlearn.errors import MalformedMessage
from fedlearn.rounds.transport import Message

_LENGTH = struct.Struct("<I")
MAX_BYTES = 64 * 2**20


class Assignment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The clients of one resident process, and the run that they take part in.

    Attributes:
      experiment: the resolved experiment, as TOML.
      run: the run's id.
      roster: public key of every client of the run, 32 bytes each.
      keys: private signing key of each client that lives here.
      accounts: what each client's records have spent before the run was taken up, as JSON.
      resumed: whether the run was taken up after an interruption.
      ledger: folder of the clients' ledgers; empty without.
      directory: the run directory, where clients keep what stays with them between rounds.
    """

    experiment: str
    run: str
    roster: dict[str, bytes] = {}
    keys: dict[str, bytes] = {}
    accounts: dict[str, str] = {}
    resumed: bool = False
    ledger: str = ""
    directory: str = ""

    def __repr__(self) -> str:
        """Leaves the keys out."""
        return f"Assignment(run={self.run!r}, clients={sorted(self.keys)})"

    def deal(self, hosts: int) -> list[Assignment]:
        """Returns one assignment per host: client i lives at host i mod ``hosts``.

        >>> whole = Assignment(experiment="", run="r", keys={"a": b"", "b": b"", "c": b""})
        >>> [sorted(part.keys) for part in whole.deal(2)]
        [['a', 'c'], ['b']]
        """
        names = sorted(self.keys)
        return [
            msgspec.structs.replace(self, keys={name: self.keys[name] for name in names[host::hosts]})
            for host in range(hosts)
        ]


class Resident(Protocol):
    """A client that lives in this process over all rounds of a run."""

    def handle(self, message: Message) -> Message:
        """Returns the reply to a request; what goes wrong is a reply, too."""
        ...


Settle: TypeAlias = Callable[[Assignment], Mapping[str, Resident]]
"""Makes the residents of an assignment: client id → client."""


def write(stream: IO[bytes], assignment: Assignment) -> None:
    """Writes an assignment to a pipe."""
    encoded = msgspec.msgpack.encode(assignment)
    stream.write(_LENGTH.pack(len(encoded)) + encoded)
    stream.flush()


def read(stream: IO[bytes]) -> Assignment:
    """Reads an assignment from a pipe; raises MalformedMessage if there is none."""
    head = stream.read(_LENGTH.size)
    length = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else 0
    if not 0 < length <= MAX_BYTES:
        raise MalformedMessage(f"assignment of {length} bytes; 1 to {MAX_BYTES} are read")
    try:
        return msgspec.msgpack.decode(stream.read(length), type=Assignment)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedMessage(f"assignment does not decode: {error}") from None
