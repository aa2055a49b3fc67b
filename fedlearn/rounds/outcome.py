"""What a round gives, and what runs rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from numpy.typing import NDArray

from fedlearn._types import Vector
from fedlearn.rounds.exchange import Traffic
from fedlearn.rounds.receipts import Receipts, Witness
from fedlearn.secagg.roster import Roster


@dataclass(frozen=True, kw_only=True)
class RoundOutcome:
    """What one round gave.

    Attributes:
      round: round, counted from 0.
      update: the aggregate, shape (d,), float32; None if the round failed: the model stays.
      survivors: the clients whose updates are in it.
      dropped: the others of the cohort, each with a coarse reason.
      asked_to_train: the clients that were sent the model: their DP events count as spent.
      failure: why the round failed, in one line; None if it did not.
      clip_norm: the next round's, under client-level DP; None without, or if the round failed.
      trips: how often requests were sent and answers awaited.
      traffic: client → bytes sent to it and received from it.
      simulated_seconds: how long the round took on the simulated clock; None where there is none.
    """

    round: int
    update: Vector | None = field(repr=False)
    survivors: tuple[str, ...]
    dropped: Mapping[str, str]
    asked_to_train: tuple[str, ...]
    failure: str | None = None
    clip_norm: float | None = None
    trips: int = 0
    traffic: Mapping[str, Traffic] = field(default_factory=dict)
    simulated_seconds: float | None = None

    @property
    def bytes_up(self) -> int:
        """Bytes received from clients."""
        return sum(traffic.up for traffic in self.traffic.values())

    @property
    def bytes_down(self) -> int:
        """Bytes sent to clients."""
        return sum(traffic.down for traffic in self.traffic.values())


@dataclass(frozen=True, kw_only=True)
class Mean:
    """The weighted mean of some clients' updates.

    Attributes:
      update: shape (d,), float32.
      weight: Σ of their weights.
      survivors: whose updates these are.
    """

    update: Vector = field(repr=False)
    weight: float
    survivors: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Carried:
    """What a server carries from one round to the next, for the checkpoint.

    Attributes:
      arrays: by name.
      record: as JSON.
    """

    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict, repr=False)
    record: Mapping[str, Any] = field(default_factory=dict)


class Rounds(Protocol):
    """Runs the rounds of a run, one after the other."""

    def run_round(
        self,
        params: Vector,
        cohort: Sequence[str],
        *,
        round: int,
        upcoming: Sequence[str] = (),
        clip_norm: float | None = None,
    ) -> RoundOutcome:
        """Returns the outcome of one round."""
        ...

    def receipts(self, clients: Sequence[str], *, round: int, roster: Roster) -> Receipts:
        """Returns what the clients state to have spent."""
        ...

    def witness(self, receipts: Receipts, *, round: int, statement: bytes) -> dict[str, Witness]:
        """Returns which clients have signed the run's statement."""
        ...

    def carried(self) -> Carried:
        """Returns what it carries to the next round."""
        ...

    def restore(self, arrays: Mapping[str, NDArray[Any]], record: Mapping[str, Any]) -> None:
        """Goes on from what ``carried`` gave; ``arrays`` may have others beside it."""
        ...
