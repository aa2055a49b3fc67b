"""The seam between a round and whatever moves its messages.

Two implementations: the in-process engine, and any Flower ``Grid``. A round is written once
against :class:`Transport`; a client that is lost is a value, not an exception.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One message from or to one client.

    Attributes:
      client: the client's own id ("hospital-3"): addressee of a request, author of a reply.
      body: an encoded :mod:`fedlearn.rounds.messages` struct; hostile until decoded.
      vectors: the arrays that travel beside it, each one-dimensional and little-endian.
      added: bytes of a vector that is not here, because an :class:`Adding` transport has added it up.
      late: a request whose answer will come too late: the client serves it like any other, and what it
        sends is added to nothing. Simulations only.
    """

    client: str
    body: bytes
    vectors: tuple[NDArray[Any], ...] = ()
    added: int = 0
    late: bool = False

    @property
    def size(self) -> int:
        """Bytes of the body and of all vectors, as they travel in a deployment."""
        return len(self.body) + sum(vector.nbytes for vector in self.vectors) + self.added


@dataclass(frozen=True, kw_only=True, slots=True)
class Lost:
    """No reply came from a client.

    Attributes:
      client: the client's own id.
      reason: a coarse code: "timeout", "unreachable", "unavailable" (offline all the time), "surplus" (enough
        others were faster) or "failed".
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


@runtime_checkable
class Adding(Transport, Protocol):
    """A transport that adds updates up beside the clients and moves sums: simulations only.

    Whoever simulates is every party already, so that nobody learns more this way, and less is moved.
    """

    def partial_sums(self) -> Iterable[Any]:
        """Yields the sums of the vectors of all replies since the last call that say ``added``.

        Each is what the server of the round adds with: a :class:`WeightedSum` in the clear, ring
        elements in ``ideal`` mode.
        """
        ...


@runtime_checkable
class Timed(Transport, Protocol):
    """A transport on which simulated time passes."""

    @property
    def now(self) -> float:
        """Simulated seconds since the run began; an exchange moves it to when its last answer was taken."""
        ...
