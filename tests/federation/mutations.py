"""Bytes as a hostile or broken peer would send them."""

from __future__ import annotations

import random
import socket
import struct

from fedlearn.federation import frames
from fedlearn.rounds.transport import Message


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Returns the bytes with a flip, a cut, an insertion or a repetition; or random ones."""
    kind, at = rng.randrange(6), rng.randrange(max(1, len(data)))
    if kind == 0:
        return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]
    if kind == 1:
        return data[:at]
    if kind == 2:
        return data[:at] + rng.randbytes(rng.randrange(1, 9)) + data[at:]
    if kind == 3:
        return data[:at] + data
    if kind == 4:
        return rng.randbytes(rng.randrange(64))
    return resized(data, rng.randrange(2**32))


def resized(data: bytes, size: int) -> bytes:
    """Returns a frame whose header announces another size."""
    return data[:8] + struct.pack("<I", size) + data[12:]


def framed(message: Message) -> bytes:
    """Returns a small message as it travels through a socket."""
    here, there = socket.socketpair()
    with here, there:
        frames.send(here, message)
        here.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: there.recv(1 << 16), b""))


def send(data: bytes, address: str) -> None:
    """Sends bytes to a Unix socket and waits for whatever comes back, a hang-up included."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(60.0)
        connection.connect(address)
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 16):
                pass
        except OSError:  # it hung up on us, as it may
            return
