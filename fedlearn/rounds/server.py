"""The server of a round: one aggregate from a cohort, over any transport.

Replies are folded into the aggregate as they arrive; memory is one model, whatever the cohort. A
client that is lost, or whose reply does not verify, is a dropout: recorded with its reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlearn._types import RingVector, Vector
from fedlearn.aggregators.accumulator import Accumulator, Aggregator
from fedlearn.aggregators.weighted_mean import WeightedSum
from fedlearn.crypto.noise import NoiseSource
from fedlearn.errors import FaultyDealer, ProtocolError, TooFewClients
from fedlearn.privacy.mechanisms import ClientMechanism
from fedlearn.rounds.compression import Compression
from fedlearn.rounds.exchange import Exchange
from fedlearn.rounds.masked_round import MaskedRounds
from fedlearn.rounds.messages import Request, TrainReply, TrainRequest
from fedlearn.rounds.outcome import Carried, Mean, RoundOutcome
from fedlearn.rounds.protection import SecureSum
from fedlearn.rounds.receipts import Receipts, Witness, collect, witness
from fedlearn.rounds.transport import Adding, Transport
from fedlearn.secagg.ring import add_in_ring
from fedlearn.secagg.roster import Roster
from fedlearn.stopwatch import phase, timed

Sum = tuple[Vector, tuple[str, ...], float | None]
"""The aggregate, the clients in it, and the next clipping norm under client-level DP."""


class RoundServer:
    """Runs rounds over a transport.

    Args:
      transport: carries the messages.
      run: the run's id, in every message.
      aggregator: combines the updates.
      weights: public weight of each client, in (0, 1].
      secure: secure aggregation; None receives updates in the clear.
      deadline: seconds to wait for the answers of one step; None waits.
      strict: raise when a client reports an error, instead of going on without it. For engines
        where clients and server have one owner, who wants to see what is wrong.
      observe: called with (round, clients done, cohort size) as updates arrive.
      dimension: length of an update, d; None: that of the global vector, which may carry constants
        behind the parameters.
      scale: round → public factor that makes an update of a mean, as clients that share their noise send
        sums: the server takes the step.
      mechanism: client-level DP: makes the aggregate of the sum; None averages.
      noise: round → secret randomness for it.
      compression: how updates travel; None: as they are.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        run: str,
        aggregator: Aggregator,
        weights: Mapping[str, float],
        secure: SecureSum | None = None,
        deadline: float | None = None,
        strict: bool = False,
        observe: Callable[[int, int, int], None] = lambda round, done, cohort: None,
        dimension: int | None = None,
        scale: Callable[[int], float] = lambda round: 1.0,
        mechanism: ClientMechanism | None = None,
        noise: Callable[[int], NoiseSource] = lambda round: NoiseSource(),
        compression: Compression | None = None,
    ) -> None:
        self._transport = transport
        self._run = run
        self._aggregator = aggregator
        self._weights = weights
        self._secure = secure
        self._deadline = deadline
        self._strict = strict
        self._observe = observe
        self._dimension = dimension
        self._scale = scale
        self._mechanism = mechanism
        self._noise = noise
        self._compression = compression
        self._masked = MaskedRounds(run=run, observe=observe)

    def run_round(
        self,
        params: Vector,
        cohort: Sequence[str],
        *,
        round: int,
        upcoming: Sequence[str] = (),
        clip_norm: float | None = None,
    ) -> RoundOutcome:
        """Returns the outcome of one round over the cohort.

        Args:
          params: the global vector, float32: the parameters, shape (d,), and constants behind them, if any.
          cohort: ids of the clients that take part.
          round: round, counted from 0.
          upcoming: ids of the clients that take part in the next round, if they are known: with secure
            aggregation its session is prepared in the messages of this one.
          clip_norm: this round's, under client-level DP; None takes the first round's.

        Raises:
          RunError: a client reported an error and the server is strict.
        """
        exchange = self.exchange(round)
        try:
            update, survivors, following = self._collect(params, cohort, exchange, upcoming, clip_norm)
        except (TooFewClients, FaultyDealer) as error:
            return _outcome(exchange, cohort, None, (), failure=str(error))
        if self._compression is not None:
            update = self._compression.released(update, round=round)
        return _outcome(exchange, cohort, update, survivors, clip_norm=following)

    def mean_in_the_clear(self, params: Vector, clients: Sequence[str], exchange: Exchange) -> Mean | None:
        """Returns the mean of the clients' updates for the exchange's round; None if none arrived.

        Raises:
          RunError: a client reported an error and the server is strict.
        """
        accumulator, survivors = self._in_the_clear(params, clients, exchange)
        if not survivors or not isinstance(accumulator, WeightedSum):
            return None
        update = accumulator.result()
        if self._compression is not None:
            update = self._compression.released(update, round=exchange.round)
        return Mean(update=update, weight=accumulator.weight, survivors=survivors)

    def train_in_vain(self, params: Vector, clients: Sequence[str], exchange: Exchange) -> None:
        """Lets clients train whose updates come too late to be added to anything; simulations only."""
        requests: dict[str, Request] = {
            client: TrainRequest(run=self._run, round=exchange.round) for client in clients
        }
        for _ in exchange.send(requests, vectors=(params,), late=True):
            pass

    def carried(self) -> Carried:
        """Returns nothing: every round starts afresh."""
        return Carried()

    def restore(self, arrays: Mapping[str, NDArray[Any]], record: Mapping[str, Any]) -> None:
        """Does nothing."""

    def receipts(self, clients: Sequence[str], *, round: int, roster: Roster) -> Receipts:
        """Returns what the clients state to have spent, once the rounds are over.

        Args:
          clients: whom to ask; those that cannot be reached are left out.
          round: number of rounds that were run.
          roster: the keys by which they are known.
        """
        return collect(self.exchange(round), clients, run=self._run, roster=roster)

    def witness(self, receipts: Receipts, *, round: int, statement: bytes) -> dict[str, Witness]:
        """Returns which clients have signed the run's statement, and whose receipts they keep."""
        return witness(self.exchange(round), receipts, run=self._run, statement=statement)

    def exchange(self, round: int) -> Exchange:
        """Returns the bookkeeping of a round's messages, before the first of them."""
        return Exchange(
            self._transport, run=self._run, round=round, deadline=self._deadline, strict=self._strict
        )

    def _collect(
        self,
        params: Vector,
        cohort: Sequence[str],
        exchange: Exchange,
        upcoming: Sequence[str],
        clip_norm: float | None,
    ) -> Sum:
        if self._mechanism is None:
            update, survivors = self._averaged(params, cohort, exchange, upcoming)
            return update, survivors, None
        norm = self._mechanism.sums.clip_norm if clip_norm is None else clip_norm
        request = self._mechanism.sums.request(params, clip_norm=norm)
        total, survivors = self._summed(request, cohort, exchange, upcoming)
        with phase("noise"):
            released = self._mechanism.release(
                total, clip_norm=norm, label=(self._run, exchange.round), noise=self._noise(exchange.round)
            )
        return released.update, survivors, released.clip_norm

    def _averaged(
        self, params: Vector, cohort: Sequence[str], exchange: Exchange, upcoming: Sequence[str]
    ) -> tuple[Vector, tuple[str, ...]]:
        if self._secure is None:
            accumulator, survivors = self._in_the_clear(params, cohort, exchange)
            with phase("aggregation"):
                return accumulator.result(), survivors
        ring, survivors = self._in_the_ring(self._secure, params, cohort, exchange, upcoming)
        return self._mean(self._secure, ring, survivors, exchange.round), survivors

    def _summed(
        self, request: Vector, cohort: Sequence[str], exchange: Exchange, upcoming: Sequence[str]
    ) -> tuple[NDArray[np.float64], tuple[str, ...]]:
        """Returns the sum of what clients sent: zeros of none, so that not even an empty cohort shows."""
        if self._secure is not None:
            self._check_size(self._secure, cohort, exchange.round)
            ring, survivors = self._in_the_ring(self._secure, request, cohort, exchange, upcoming)
            return self._secure.encoding.decode(ring), survivors
        accumulator, survivors = self._in_the_clear(request, cohort, exchange)
        total = accumulator.total if isinstance(accumulator, WeightedSum) else None
        return np.zeros(self._length(request)) if total is None else total, survivors

    def _check_size(self, secure: SecureSum, cohort: Sequence[str], round: int) -> None:
        """Raises TooFewClients for a Poisson cohort that ring and noise are not made for."""
        least, most = secure.parameters.min_survivors, secure.parameters.clients
        if not least <= len(cohort) <= most:
            raise TooFewClients(
                f"round {round}: a cohort of {len(cohort)} lies outside [{least}, {most}], for which ring and"
                " noise are made; nobody was asked"
            )

    def _in_the_ring(
        self,
        secure: SecureSum,
        params: Vector,
        cohort: Sequence[str],
        exchange: Exchange,
        upcoming: Sequence[str],
    ) -> tuple[RingVector, tuple[str, ...]]:
        if secure.mode == "ideal":
            return self._ideal(secure, params, cohort, exchange)
        return self._masked.sum(
            secure, params, cohort, exchange, dimension=self._length(params), upcoming=upcoming
        )

    def _in_the_clear(
        self, params: Vector, cohort: Sequence[str], exchange: Exchange
    ) -> tuple[Accumulator, tuple[str, ...]]:
        accumulator = self._aggregator.start()
        survivors = []
        kind = np.dtype(np.float32) if self._compression is None else self._compression.layout.dtype
        for client, vector in self._vectors(params, cohort, exchange, kind):
            try:
                if vector is not None:
                    with phase("aggregation"):
                        accumulator.add(self._addend(vector, exchange.round), weight=self._weights[client])
            except ProtocolError as error:
                exchange.drop(client, type(error).__name__)
                continue
            survivors.append(client)
        if isinstance(accumulator, WeightedSum):
            for partial in self._partial_sums():
                with phase("aggregation"):
                    accumulator.merge(partial)
        return accumulator, tuple(sorted(survivors))

    def _ideal(
        self, secure: SecureSum, params: Vector, cohort: Sequence[str], exchange: Exchange
    ) -> tuple[RingVector, tuple[str, ...]]:
        total = np.zeros(self._length(params), dtype=secure.encoding.dtype)
        survivors = []
        for client, vector in self._vectors(params, cohort, exchange, total.dtype):
            if vector is not None:
                with phase("aggregation"):
                    add_in_ring(total, vector)
            survivors.append(client)
        for partial in self._partial_sums():
            with phase("aggregation"):
                add_in_ring(total, partial)
        floor = secure.parameters.min_survivors
        if len(survivors) < floor:
            raise TooFewClients(
                f"round {exchange.round}: {len(survivors)} of {len(cohort)} clients sent an update,"
                f" secure_aggregation.min_survivors={floor} are needed"
            )
        return total, tuple(sorted(survivors))

    def _vectors(
        self, params: Vector, cohort: Sequence[str], exchange: Exchange, dtype: np.dtype[Any]
    ) -> Iterator[tuple[str, NDArray[Any] | None]]:
        """Asks the cohort to train and yields each vector of the right shape and dtype as it comes.

        A vector that an adding transport keeps is None here, and in :meth:`_partial_sums`.
        """
        requests: dict[str, Request] = {
            client: TrainRequest(run=self._run, round=exchange.round) for client in cohort
        }
        answers = exchange.send(requests, vectors=(params,))
        shape, adding = (self._length(params),), isinstance(self._transport, Adding)
        for done, (client, reply, message) in enumerate(answers, start=1):
            self._observe(exchange.round, done, len(cohort))
            vectors = message.vectors
            if adding and isinstance(reply, TrainReply) and message.added:
                yield client, None
            elif not isinstance(reply, TrainReply) or len(vectors) != 1:
                exchange.drop(client, "UnexpectedReply")
            elif vectors[0].shape != shape or vectors[0].dtype != dtype:
                exchange.drop(client, "MalformedVector")
            else:
                yield client, vectors[0]

    def _addend(self, vector: NDArray[Any], round: int) -> Vector:
        return vector if self._compression is None else self._compression.addend(vector, round=round)

    def _partial_sums(self) -> Iterable[Any]:
        return self._transport.partial_sums() if isinstance(self._transport, Adding) else ()

    @timed("aggregation")
    def _mean(self, secure: SecureSum, total: RingVector, survivors: Iterable[str], round: int) -> Vector:
        # fsum rounds once, so that the order in which clients answered does not show.
        weight = math.fsum(self._weights[client] for client in survivors)
        mean = secure.encoding.decode(total) / weight * self._scale(round)
        accumulator = self._aggregator.start()
        accumulator.add(mean.astype(np.float32), weight=weight)
        return accumulator.result()

    def _length(self, params: Vector) -> int:
        return len(params) if self._dimension is None else self._dimension


def _outcome(
    exchange: Exchange,
    cohort: Sequence[str],
    update: Vector | None,
    survivors: tuple[str, ...],
    *,
    failure: str | None = None,
    clip_norm: float | None = None,
) -> RoundOutcome:
    arrived = frozenset(survivors)
    missing = [client for client in cohort if client not in arrived]
    return RoundOutcome(
        round=exchange.round,
        update=update,
        survivors=survivors,
        dropped={client: exchange.dropped.get(client, "excluded") for client in missing},
        asked_to_train=tuple(exchange.asked_to_train),
        failure=failure,
        clip_norm=clip_norm,
        trips=exchange.trips,
        traffic=exchange.traffic,
        simulated_seconds=exchange.simulated_seconds,
    )
