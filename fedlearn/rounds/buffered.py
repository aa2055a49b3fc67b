"""The server of asynchronous rounds: a step whenever the buffer is full (Nguyen et al. 2022, Algorithm 1).

Clients train on the model that was there when they began; an update that is τ steps of the server old
counts s(τ) = (1 + τ)^−a. The step is Σ s(τ)·w·update / Σ w over the K updates of the buffer, w the public
weights: staleness makes a step shorter, and does not give others more say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlearn._types import Vector
from fedlearn.errors import TooFewClients
from fedlearn.rounds.exchange import Exchange, Traffic
from fedlearn.rounds.flights import Flight, Flights
from fedlearn.rounds.outcome import Carried, RoundOutcome
from fedlearn.rounds.receipts import Receipts, Witness
from fedlearn.rounds.server import RoundServer
from fedlearn.secagg.roster import Roster

_MODEL = "model-of-round-"


@dataclass(kw_only=True)
class _Buffer:
    """What has arrived in a round so far.

    Attributes:
      total: Σ s(τ)·w·update, float64; None before the first.
      weight: Σ w.
      survivors: whose updates these are.
      dropped: client → coarse reason.
      asked: the clients that were sent a model and have landed.
      traffic: their bytes.
      trips: how often clients were waited for.
    """

    total: NDArray[np.float64] | None = None
    weight: float = 0.0
    survivors: list[str] = field(default_factory=list)
    dropped: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    traffic: dict[str, Traffic] = field(default_factory=dict)
    trips: int = 0

    def note(self, exchange: Exchange) -> None:
        """Takes over the bookkeeping of an exchange."""
        self.dropped.update(exchange.dropped)
        self.asked += exchange.asked_to_train
        self.traffic.update(exchange.traffic)

    def add(self, mean: Vector, *, weight: float, discount: float) -> None:
        """Adds the mean of updates of one age."""
        share = mean.astype(np.float64) * (weight * discount)
        self.total = share if self.total is None else self.total + share
        self.weight += weight


class BufferedServer:
    """Runs asynchronous rounds; in place of a :class:`RoundServer`, of which it has one.

    A client's update is computed when it lands: until then its model is kept, once for all clients that
    were sent it. Updates of one age are asked for together, so that workers share them.

    Guarantee: the model does not depend on the number of workers: updates of one age are summed exactly,
    ages are added in order.

    Args:
      server: asks clients and sums in the clear.
      flights: who lands when.
      buffer: K.
      staleness_exponent: a.
      last: number of the last round, in which those still in flight are let land; None: they are not.
      observe: called with (round, updates in the buffer, K).
    """

    def __init__(
        self,
        server: RoundServer,
        flights: Flights,
        *,
        buffer: int,
        staleness_exponent: float,
        last: int | None,
        observe: Callable[[int, int, int], None] = lambda round, done, cohort: None,
    ) -> None:
        self._server = server
        self._flights = flights
        self._size = buffer
        self._exponent = staleness_exponent
        self._last = last
        self._observe = observe
        self._models: dict[int, Vector] = {}

    def run_round(
        self,
        params: Vector,
        cohort: Sequence[str],
        *,
        round: int,
        upcoming: Sequence[str] = (),
        clip_norm: float | None = None,
    ) -> RoundOutcome:
        """Returns the outcome of one step of the server.

        Args:
          params: the global vector, and constants behind it, if any.
          cohort: not used: clients take part as they become free.
          round: round, counted from 0.
          upcoming: not used.
          clip_norm: not used: no client-level DP goes with it.
        """
        del cohort, upcoming, clip_norm
        self._models[round] = params
        self._flights.begin_round()
        began, buffer, failure = self._flights.now, _Buffer(), None
        try:
            while len(buffer.survivors) < self._size:
                self._take(self._landing(self._size - len(buffer.survivors), round), buffer, round)
        except TooFewClients as error:
            failure = str(error)
        if round == self._last:
            self._let_land(buffer)
        needed = {flight.version for flight in self._flights.airborne}
        self._models = {version: model for version, model in self._models.items() if version in needed}
        return self._outcome(buffer, round, failure, seconds=self._flights.now - began)

    def receipts(self, clients: Sequence[str], *, round: int, roster: Roster) -> Receipts:
        """Returns what the clients state to have spent, once the rounds are over."""
        return self._server.receipts(clients, round=round, roster=roster)

    def witness(self, receipts: Receipts, *, round: int, statement: bytes) -> dict[str, Witness]:
        """Returns which clients have signed the run's statement, and whose receipts they keep."""
        return self._server.witness(receipts, round=round, statement=statement)

    def carried(self) -> Carried:
        """Returns the flights and the models that those in flight were sent."""
        arrays = {f"{_MODEL}{version}": model for version, model in self._models.items()}
        return Carried(arrays=arrays, record=self._flights.to_dict())

    def restore(self, arrays: Mapping[str, NDArray[Any]], record: Mapping[str, Any]) -> None:
        """Goes on from what ``carried`` gave."""
        self._flights.restore(record)
        self._models = {
            int(name.removeprefix(_MODEL)): array for name, array in arrays.items() if name.startswith(_MODEL)
        }

    def _landing(self, count: int, round: int) -> list[Flight]:
        """Returns the next flights: so many that arrive, and those that are given up before."""
        landing: list[Flight] = []
        while sum(flight.arrives for flight in landing) < count:
            landing.append(self._flights.land(round))
        return landing

    def _take(self, landing: Iterable[Flight], buffer: _Buffer, round: int) -> None:
        """Lets clients train whose flights have landed, and adds their updates, oldest model first."""
        ordered = sorted(landing, key=lambda flight: (flight.version, flight.client))
        for version, together in groupby(ordered, key=lambda flight: flight.version):
            flights = list(together)
            buffer.trips += 1
            late = [flight.client for flight in flights if not flight.arrives]
            self._train_in_vain(late, version, buffer)
            buffer.dropped.update(dict.fromkeys(late, "timeout"))
            clients = [flight.client for flight in flights if flight.arrives]
            if clients:
                self._add(clients, version, buffer, age=round - version)
            self._observe(round, len(buffer.survivors), self._size)

    def _add(self, clients: Sequence[str], version: int, buffer: _Buffer, *, age: int) -> None:
        exchange = self._server.exchange(version)
        found = self._server.mean_in_the_clear(self._models[version], clients, exchange)
        buffer.note(exchange)
        if found is not None:
            buffer.add(found.update, weight=found.weight, discount=(1.0 + age) ** -self._exponent)
            buffer.survivors += found.survivors

    def _train_in_vain(self, clients: Sequence[str], version: int, buffer: _Buffer) -> None:
        """Lets clients train whose updates nobody waits for: what they send has left them all the same."""
        if not clients:
            return
        exchange = self._server.exchange(version)
        self._server.train_in_vain(self._models[version], clients, exchange)
        buffer.note(exchange)

    def _let_land(self, buffer: _Buffer) -> None:
        airborne = sorted(self._flights.airborne, key=lambda flight: (flight.version, flight.client))
        for version, together in groupby(airborne, key=lambda flight: flight.version):
            self._train_in_vain([flight.client for flight in together], version, buffer)

    def _outcome(self, buffer: _Buffer, round: int, failure: str | None, *, seconds: float) -> RoundOutcome:
        update = None
        if failure is None and buffer.total is not None:
            update = (buffer.total / buffer.weight).astype(np.float32)
        return RoundOutcome(
            round=round,
            update=update,
            survivors=tuple(sorted(buffer.survivors)) if update is not None else (),
            dropped=buffer.dropped,
            asked_to_train=tuple(buffer.asked),
            failure=failure,
            trips=buffer.trips,
            traffic=buffer.traffic,
            simulated_seconds=seconds,
        )
