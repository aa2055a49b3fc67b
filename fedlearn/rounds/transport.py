"""The seam between a round and whatever moves its messages.

Two implementations: the in-process engine, and any Flower ``Grid``. A round is written once
against :class:`Transport`; a client that is lost is a value, not an exception.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One message from or to one client.

    Attributes:
      client: the client's own id ("hospital-3"): addressee of a request, author of a reply.
      body: an encoded :mod:`fedlearn.rounds.messages` struct; hostile until decoded.
      vectors: the arrays that travel beside it, each one-dimensional and little-endian.
    """

    client: str
    body: bytes
    vectors: tuple[NDArray[Any], ...] = ()

    @property
    def size(self) -> int:
        """Bytes of the body and of all vectors."""
        return len(self.body) + sum(vector.nbytes for vector in self.vectors)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lost:
    """No reply came from a client.

    Attributes:
      client: the client's own id.
      reason: a coarse code: "timeout", "unreachable" or "failed".
    """

    client: str
    reason: str


class Transport(Protocol):
    """Carries the requests of one step to the clients and their replies back."""

    def exchange(
        self, requests: Iterable[Message], *, deadline: float | None = None
    ) -> Iterator[Message | Lost]:
        """Sends every request and yields one answer per request, in order of arrival.

        Args:
          requests: at most one per client.
          deadline: seconds after which clients that have not answered are lost; None waits.

        Yields:
          A reply, or :class:`Lost`, exactly once for each client addressed. Replies are yielded as
          they arrive, so that the receiver need not hold a cohort of vectors.
        """
        ...
