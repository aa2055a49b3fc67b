"""The relay: one message to a resident process and its answer back, unread.

It holds nothing and decides nothing, so it may run anywhere: in a Ray actor that serves another
client each time, or in the process that a SuperNode starts for every message.
"""

from __future__ import annotations

import math
import socket

from fedlearn.errors import MalformedMessage
from fedlearn.federation import frames
from fedlearn.federation.cluster import relay as cluster
from fedlearn.rounds.transport import Lost, Message

SOCKET_KEY = "fedlearn-socket"
"""Entry of a SuperNode's ``--node-config``: the socket of its site. It wins over what a request says."""


def relay(message: Message, *, address: str, seconds: float = math.inf) -> Message | Lost:
    """Hands a message to the process that its client lives in and returns its answer.

    Args:
      message: the request.
      address: path of a Unix socket, or the address of an actor (:mod:`fedlearn.federation.cluster.relay`).
      seconds: how long the process may stay silent; infinite waits.

    Returns:
      The answer, or :class:`Lost`: "unreachable" if nobody listens, "timeout" if the process stays
      silent, "failed" if it dies, answers nonsense, or answers for another client.
    """
    if address.startswith(cluster.SCHEME):
        return cluster.relay(message, address=address, seconds=seconds)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(None if math.isinf(seconds) else seconds)
        try:
            connection.connect(address)
        except OSError:
            return Lost(client=message.client, reason="unreachable")
        try:
            frames.send(connection, message)
            answer = frames.receive(connection)
        except TimeoutError:
            return Lost(client=message.client, reason="timeout")
        except (OSError, EOFError, MalformedMessage):
            return Lost(client=message.client, reason="failed")
    return answer if answer.client == message.client else Lost(client=message.client, reason="failed")
