"""Who trains when, where clients take part as they become free: events on the simulated clock."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fedlearn.errors import TooFewClients
from fedlearn.fleet.pace import Fleet, worked

_STARTS = 23
_TRIES = 64
_MOST_SEARCHED = 10_000
"""Clients among which a free one is searched for, if chance has found none."""


@dataclass(frozen=True, kw_only=True, order=True)
class Flight:
    """One client on its way from a model to an update.

    Attributes:
      lands: when its update arrives, or waiting for it is given up; infinite if neither ever happens.
      client: its id; of flights that land together the first id is taken first.
      version: number of the round whose model it was sent.
      arrives: whether the update comes in time.
    """

    lands: float
    client: str
    version: int
    arrives: bool = True


class Flights:
    """The clients in flight, in the order in which they land.

    Guarantee: the order follows from the seed, the fleet and the rounds so far; from nothing that a client
    computes. A client lands at most once in a round, so it takes part at most once in each of them: what a
    run of so many rounds may spend of its records is what it may spend where rounds have cohorts.

    Args:
      names: ids of all clients, sorted.
      fleet: how fast they are, and when they are online.
      seconds: client → how long it takes for a round of training while it is online.
      concurrency: how many are in flight.
      seed: of who takes off next.
      patience: seconds after which an update is given up; None waits.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        fleet: Fleet,
        seconds: Callable[[str], float],
        concurrency: int,
        seed: int,
        patience: float | None = None,
    ) -> None:
        self.now = 0.0
        self._names = names
        self._fleet = fleet
        self._seconds = seconds
        self._concurrency = concurrency
        self._seed = seed
        self._patience = math.inf if patience is None else patience
        self._heap: list[Flight] = []
        self._airborne: set[str] = set()
        self._landed: set[str] = set()
        self._started = 0

    @property
    def airborne(self) -> tuple[Flight, ...]:
        """The flights that have not landed, in the order of landing."""
        return tuple(sorted(self._heap))

    def begin_round(self) -> None:
        """Lets those who landed in the round before take off again."""
        self._landed.clear()

    def land(self, version: int) -> Flight:
        """Returns the next flight to land; time moves there, and every free place is taken again first.

        Args:
          version: number of the round: what takes off now is sent its model.

        Raises:
          TooFewClients: nobody is in flight, and nobody is left who could take off.
        """
        self._fill(version)
        if not self._heap:
            self._wait()
            self._fill(version)
        if not self._heap:
            raise TooFewClients(
                f"round {version}: all {len(self._landed)} clients that ever come online have landed, and the"
                " buffer is not full; lower asynchronous.buffer"
            )
        flight = heapq.heappop(self._heap)
        self._airborne.discard(flight.client)
        self._landed.add(flight.client)
        if math.isfinite(flight.lands):
            self.now = flight.lands
        return flight

    def to_dict(self) -> dict[str, Any]:
        """Returns what a checkpoint keeps between rounds."""
        flights = [asdict(flight) for flight in self.airborne]
        return {"now": self.now, "started": self._started, "airborne": flights}

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Goes on from what ``to_dict`` gave."""
        self.now, self._started = float(kept["now"]), int(kept["started"])
        self._heap = [Flight(**flight) for flight in kept["airborne"]]
        heapq.heapify(self._heap)
        self._airborne = {flight.client for flight in self._heap}

    def _fill(self, version: int) -> None:
        while len(self._heap) < self._concurrency:
            client = self._next()
            if client is None:
                return
            heapq.heappush(self._heap, self._flight(client, version))
            self._airborne.add(client)

    def _flight(self, client: str, version: int) -> Flight:
        done = worked(self._fleet.online(client, self.now), at=self.now, seconds=self._seconds(client)).done
        ends = self.now + self._patience
        return Flight(
            lands=min(done, ends),
            client=client,
            version=version,
            arrives=math.isfinite(done) and done <= ends,
        )

    def _next(self) -> str | None:
        """Returns a client that is free and online, each with the same chance; None if none is found."""
        rng = np.random.default_rng([self._seed, _STARTS, self._started])
        self._started += 1
        for place in rng.integers(len(self._names), size=_TRIES):
            name = self._names[int(place)]
            if self._free(name) and self._online(name):
                return name
        if len(self._names) > _MOST_SEARCHED:
            return None
        ready = [name for name in self._names if self._free(name) and self._online(name)]
        return ready[int(rng.integers(len(ready)))] if ready else None

    def _free(self, client: str) -> bool:
        return client not in self._airborne and client not in self._landed

    def _online(self, client: str) -> bool:
        window = next(self._fleet.online(client, self.now), None)
        return window is not None and window[0] <= self.now

    def _wait(self) -> None:
        """Moves time to when the first free client comes online; of many clients some are looked at."""
        opens = math.inf
        for name in self._names[:_MOST_SEARCHED]:
            if self._free(name):
                window = next(self._fleet.online(name, self.now), None)
                opens = min(opens, math.inf if window is None else window[0])
        if math.isfinite(opens):
            self.now = max(self.now, opens)
