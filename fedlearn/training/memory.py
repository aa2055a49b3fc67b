"""What stays at a client from one round to the next: control variates, own layers, what was not sent.

Guarantee: nothing in here travels. A trainer recalls what it kept before a round and keeps what it has
after it; messages are made of the update alone. What is kept follows from the client's records like the
update does, so under record-level DP it has to follow from noised steps if any later update depends on it.

What is kept is numbered by its round, and the last two are held: a run that is taken up at its
checkpoint recalls what it recalled then, although the round that was cut off had gone further.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from numpy.typing import NDArray

from fedlearn.errors import ProtocolError

Slots: TypeAlias = Mapping[str, NDArray[Any]]
"""Named arrays; empty for a client that has kept nothing yet."""


class Memory(Protocol):
    """What the clients of a run keep, by client and by the part of it that keeps: "training", ….

    Nothing is held for a client that never took part.
    """

    @property
    def everywhere(self) -> bool:
        """Whether every process of this machine sees what another one kept."""

    def recall(self, client: str, part: str, *, before: int) -> Slots:
        """Returns what was kept in the newest round below ``before``; empty if nothing was.

        Raises:
          RunDirectoryError: it cannot be read.
        """

    def keep(self, client: str, part: str, *, round: int, slots: Slots) -> None:
        """Keeps the arrays as those of a round, in place of any of this round or later.

        Raises:
          RunDirectoryError: it cannot be written.
        """


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """One part of one client's memory.

    Attributes:
      memory: of the run.
      client: the client.
      part: who keeps here.

    >>> import numpy as np
    >>> shelf = Shelf(memory=HeldMemory(), client="a", part="training")
    >>> shelf.keep(round=0, slots={"control": np.ones(2)})
    >>> dict(shelf.recall(before=0)), list(shelf.recall(before=5))
    ({}, ['control'])
    """

    memory: Memory = field(repr=False)
    client: str
    part: str

    def recall(self, *, before: int) -> Slots:
        """Returns what was kept in the newest round below ``before``; empty if nothing was."""
        return self.memory.recall(self.client, self.part, before=before)

    def keep(self, *, round: int, slots: Slots) -> None:
        """Keeps the arrays as those of a round."""
        self.memory.keep(self.client, self.part, round=round, slots=slots)


class HeldMemory:
    """A memory that lives in this process and ends with it."""

    everywhere = False

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], dict[int, Slots]] = {}

    def recall(self, client: str, part: str, *, before: int) -> Slots:
        """Returns copies of what was kept in the newest round below ``before``."""
        kept = self._kept.get((client, part), {})
        newest = max((number for number in kept if number < before), default=None)
        return {} if newest is None else {name: array.copy() for name, array in kept[newest].items()}

    def keep(self, client: str, part: str, *, round: int, slots: Slots) -> None:
        """Keeps copies, and what the newest round below had kept."""
        kept = self._kept.setdefault((client, part), {})
        for number in outdated(kept, round=round):
            del kept[number]
        kept[round] = {name: array.copy() for name, array in slots.items()}


class Elsewhere:
    """The memory of clients that keep on machines of their own: nobody here can read it."""

    everywhere = False

    def recall(self, client: str, part: str, *, before: int) -> Slots:
        """Raises ProtocolError."""
        raise ProtocolError(f"what client {client!r} keeps is on its own machine")

    def keep(self, client: str, part: str, *, round: int, slots: Slots) -> None:
        """Raises ProtocolError."""
        raise ProtocolError(f"client {client!r} keeps on its own machine")


def outdated(rounds: Mapping[int, object], *, round: int) -> list[int]:
    """Returns which kept rounds are no longer needed once ``round`` is kept: all but the newest below it.

    >>> outdated({1: ..., 3: ..., 4: ..., 6: ...}, round=5)
    [1, 3, 6]
    """
    newest = max((number for number in rounds if number < round), default=None)
    return [number for number in rounds if number not in (newest, round)]
