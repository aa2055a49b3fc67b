"""The server of masked rounds: secure-aggregation sessions driven over any transport.

A round takes five trips, or three if its session was prepared in the messages of the round before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fedlearn._types import RingVector, Vector
from fedlearn.errors import FaultyDealer, ProtocolError
from fedlearn.rounds.exchange import Exchange
from fedlearn.rounds.member import model_digest
from fedlearn.rounds.messages import Reply, Request, SecureReply, SecureRequest, SecureTrainRequest
from fedlearn.rounds.preparation import Preparation
from fedlearn.rounds.protection import SecureSum
from fedlearn.rounds.transport import Message
from fedlearn.secagg.server import ServerSession
from fedlearn.secagg.step import Step
from fedlearn.stopwatch import phase, timed

Observe = Callable[[int, int, int], None]
"""Called with (round, clients done, cohort size) as masked updates arrive."""


class MaskedRounds:
    """Sums the masked updates of cohorts, one round after the other.

    While a round is summed, the session of the next one is prepared in the same messages. A round
    that fails takes the prepared session with it: the next one starts with fresh keys.

    Args:
      run: the run's id.
      observe: watches.
    """

    def __init__(self, *, run: str, observe: Observe) -> None:
        self._run = run
        self._observe = observe
        self._prepared: Preparation | None = None
        self._accused: frozenset[str] = frozenset()

    def sum(
        self,
        secure: SecureSum,
        params: Vector,
        cohort: Sequence[str],
        exchange: Exchange,
        *,
        dimension: int,
        upcoming: Sequence[str] = (),
    ) -> tuple[RingVector, tuple[str, ...]]:
        """Returns the sum of the survivors' encoded updates, and the survivors.

        Args:
          secure: what the members agreed on.
          params: the global vector, float32.
          cohort: the clients of this round.
          exchange: sends its messages.
          dimension: length of an update, d.
          upcoming: the clients of the next round, whose session is prepared; empty prepares none.

        Raises:
          TooFewClients: quorum, threshold or floor was missed.
          FaultyDealer: a client's true shares rebuild no secret.
        """
        session = self._prepared_for(cohort, exchange) or self._opened(secure, cohort, exchange, dimension)
        session.bind(model_digest=model_digest(params), configuration_digest=secure.configuration_digest)
        ahead = self._preparation(secure, upcoming, exchange, dimension)
        round = _MaskedRound(session, ahead, exchange, run=self._run, observe=self._observe)
        try:
            round.complete(params)
        except FaultyDealer as fault:
            self._accused = frozenset({fault.dealer})
            raise
        except ProtocolError:
            self._accused = frozenset(session.complaints)
            raise
        self._prepared = ahead
        return session.total, tuple(sorted(session.survivors))

    def _prepared_for(self, cohort: Sequence[str], exchange: Exchange) -> ServerSession | None:
        """Returns the session that was prepared for this round, once; None if there is none or it expired."""
        prepared, self._prepared = self._prepared, None
        session = None if prepared is None else prepared.session_for(exchange.round, cohort)
        if session is not None and prepared is not None:
            for client, reason in prepared.missing.items():
                exchange.drop(client, reason)
        return session

    def _opened(
        self, secure: SecureSum, cohort: Sequence[str], exchange: Exchange, dimension: int
    ) -> ServerSession:
        """Returns a session before its first step, without the dealers accused in the round before."""
        for client in self._accused.intersection(cohort):
            exchange.drop(client, FaultyDealer.__name__)
        invited = [client for client in cohort if client not in self._accused]
        self._accused = frozenset()
        return self._session(secure, invited, exchange.round, dimension)

    def _preparation(
        self, secure: SecureSum, upcoming: Sequence[str], exchange: Exchange, dimension: int
    ) -> Preparation | None:
        # A cohort that is too small or too large is refused in its own round, not in this one.
        if not secure.parameters.min_survivors <= len(upcoming) <= secure.parameters.clients:
            return None
        round = exchange.round + 1
        session = self._session(secure, upcoming, round, dimension)
        return Preparation(session, round=round, cohort=upcoming, missing=exchange.missing_ahead)

    def _session(
        self, secure: SecureSum, clients: Sequence[str], round: int, dimension: int
    ) -> ServerSession:
        return ServerSession(
            clients=clients,
            roster=secure.roster,
            parameters=secure.parameters,
            run=self._run,
            round=round,
            dimension=dimension,
            modulus_bits=secure.encoding.modulus_bits,
        )


class _MaskedRound:
    """One round: its own session, and what of the next one's rides in its messages."""

    def __init__(
        self,
        session: ServerSession,
        ahead: Preparation | None,
        exchange: Exchange,
        *,
        run: str,
        observe: Observe,
    ) -> None:
        self._session = session
        self._ahead = ahead
        self._exchange = exchange
        self._run = run
        self._observe = observe

    def complete(self, params: Vector) -> None:
        """Takes the session from its open step to the sum."""
        while not self._session.finished:
            step = self._session.step
            self._trip(params)
            with phase("masking"):
                self._session.advance()
                if self._ahead is not None:
                    self._ahead.close(step, accused=self._session.complaints)

    def _trip(self, params: Vector) -> None:
        """Sends the requests of the open step and feeds the sessions the answers."""
        requests = self._requests()
        asked = sum(request.round == self._exchange.round for request in requests.values())
        done = 0
        for client, reply, message in self._exchange.send(requests, vectors=(params,)):
            taken = self._take(client, reply, message)
            if taken and self._session.step is Step.INPUTS:
                done += 1
                self._observe(self._exchange.round, done, asked)

    @timed("masking")
    def _requests(self) -> dict[str, Request]:
        """Returns one request per client: for this round's session, for the next one's, or for both."""
        step, round = self._session.step, self._exchange.round
        kind = SecureTrainRequest if step is Step.INPUTS else SecureRequest
        riding = {} if self._ahead is None else self._ahead.requests(step)
        own = self._session.requests()
        requests: dict[str, Request] = {
            client: kind(run=self._run, round=round, payload=payload, ahead=riding.pop(client, b""))
            for client, payload in own.items()
        }
        for client, payload in riding.items():
            requests[client] = SecureRequest(run=self._run, round=round + 1, payload=payload)
        return requests

    @timed("masking")
    def _take(self, client: str, reply: Reply, message: Message) -> bool:
        """Feeds the sessions an answer; returns whether this round's session took it."""
        if not isinstance(reply, SecureReply):
            self._exchange.drop(client, "UnexpectedReply")
            return False
        if reply.round != self._exchange.round:
            self._prepare(client, reply.payload)
            self._exchange.drop(client, "unanswered")
            return False
        if reply.ahead:
            self._prepare(client, reply.ahead)
        vector = message.vectors[0] if len(message.vectors) == 1 else None
        try:
            self._session.receive(client, reply.payload, vector)
        except ProtocolError as error:
            self._exchange.drop(client, type(error).__name__)
            return False
        return True

    def _prepare(self, client: str, body: bytes) -> None:
        if self._ahead is not None:
            self._ahead.receive(client, body)
