"""An algorithm's part at its clients: arithmetic on flat vectors before and after local training.

A rule knows no record, no model and no message. It says what is added to every local gradient, what
travels beside the update, and what stays at the client.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from fedlearn._types import Vector

Kept = Mapping[str, Vector]
"""What a client kept after its last round: name → (d,) float32; empty before its first."""


@dataclass(frozen=True, kw_only=True)
class LocalWork:
    """What a client did in a round; public, as it follows from the configuration and declared sizes.

    Attributes:
      steps: number K ≥ 1 of local steps.
      learning_rate: η of this round.
      unit_rate: η before the schedule; what a rule measures gradients with.
    """

    steps: int
    learning_rate: float
    unit_rate: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """What a round leaves.

    Attributes:
      sent: vectors for the server, each (d,) float32, the update first.
      kept: vectors for the client's next round.
    """

    sent: tuple[Vector, ...]
    kept: Kept = field(default_factory=dict)


class LocalRule(Protocol):
    """What the clients of an algorithm do besides descending."""

    received: ClassVar[tuple[str, ...]]
    """The slots of the server's state that travel behind the parameters."""

    sent: ClassVar[int]
    """Number of vectors in a client's reply."""

    remembers: ClassVar[bool]
    """Whether a client keeps anything between rounds."""

    def offset(self, received: Sequence[Vector], kept: Kept, *, unit_rate: float) -> Vector | None:
        """Returns what is added to the gradient of every local step, (d,); None adds nothing."""

    def finish(self, update: Vector, received: Sequence[Vector], kept: Kept, work: LocalWork) -> Outcome:
        """Returns what is sent and what is kept, given local − global; no argument is changed."""


@dataclass(frozen=True, kw_only=True)
class SendUpdate:
    """The rule of every algorithm that leaves its clients alone."""

    received: ClassVar[tuple[str, ...]] = ()
    sent: ClassVar[int] = 1
    remembers: ClassVar[bool] = False

    def offset(self, received: Sequence[Vector], kept: Kept, *, unit_rate: float) -> None:
        """Returns None."""

    def finish(self, update: Vector, received: Sequence[Vector], kept: Kept, work: LocalWork) -> Outcome:
        """Returns the update alone."""
        return Outcome(sent=(update,))


def rule_of(algorithm: object) -> LocalRule:
    """Returns the algorithm's part at its clients: its ``local``, or that of one that has none."""
    rule: LocalRule = getattr(algorithm, "local", None) or SendUpdate()
    return rule
