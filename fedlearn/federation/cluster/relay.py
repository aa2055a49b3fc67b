"""The relay from a Ray worker to a host that is an actor: bytes there and back, unread."""

from __future__ import annotations

import math

from fedlearn.errors import MalformedMessage
from fedlearn.federation import frames
from fedlearn.rounds.transport import Lost, Message

SCHEME = "ray-actor:"
"""Begins the address of a host that is an actor; the rest is ``NAMESPACE/NAME``."""


def address_of(*, namespace: str, name: str) -> str:
    """Returns the address of an actor.

    >>> address_of(namespace="fedlearn-1", name="host-0")
    'ray-actor:fedlearn-1/host-0'
    """
    return f"{SCHEME}{namespace}/{name}"


def relay(message: Message, *, address: str, seconds: float = math.inf) -> Message | Lost:
    """Hands a message to the host at an actor's address and returns its answer.

    Args:
      message: the request.
      address: as :func:`address_of` gives it.
      seconds: how long the host may stay silent; infinite waits.

    Returns:
      The answer, or :class:`Lost`: "unreachable" if there is no such actor or this process is none of
      Ray's, "timeout" if the host stays silent, "failed" if it dies, answers nonsense, or answers for
      another client.
    """
    import ray  # only where a cluster is used: the relay of a SuperNode never gets here

    if not ray.is_initialized():
        return Lost(client=message.client, reason="unreachable")
    namespace, _, name = address.removeprefix(SCHEME).partition("/")
    try:
        host = ray.get_actor(name, namespace=namespace)
    except ValueError:
        return Lost(client=message.client, reason="unreachable")
    try:
        reply = ray.get(
            host.answer.remote(frames.pack(message)), timeout=None if math.isinf(seconds) else seconds
        )
        answer = frames.unpack(reply)
    except ray.exceptions.GetTimeoutError:
        return Lost(client=message.client, reason="timeout")
    except (ray.exceptions.RayError, MalformedMessage):
        return Lost(client=message.client, reason="failed")
    return answer if answer.client == message.client else Lost(client=message.client, reason="failed")
