"""The server of masked rounds: a secure-aggregation session driven over any transport."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fedlearn._types import RingVector, Vector
from fedlearn.errors import ProtocolError
from fedlearn.rounds.exchange import Exchange
from fedlearn.rounds.member import model_digest
from fedlearn.rounds.messages import Request, SecureReply, SecureRequest, SecureTrainRequest
from fedlearn.rounds.protection import SecureSum
from fedlearn.secagg.server import ServerSession


class MaskedRounds:
    """Sums the masked updates of cohorts.

    Args:
      run: the run's id.
      observe: called with (round, clients done, cohort size) as masked updates arrive.
    """

    def __init__(self, *, run: str, observe: Callable[[int, int, int], None]) -> None:
        self._run = run
        self._observe = observe

    def sum(
        self, secure: SecureSum, params: Vector, cohort: Sequence[str], exchange: Exchange
    ) -> tuple[RingVector, tuple[str, ...]]:
        """Returns the sum of the survivors' encoded updates, and the survivors.

        Raises:
          TooFewClients: quorum, threshold or floor was missed.
          FaultyDealer: a client's true shares rebuild no secret.
        """
        session = ServerSession(
            clients=cohort,
            roster=secure.roster,
            parameters=secure.parameters,
            run=self._run,
            round=exchange.round,
            model_digest=model_digest(params),
            configuration_digest=secure.configuration_digest,
            dimension=len(params),
            modulus_bits=secure.encoding.modulus_bits,
        )
        while not session.finished:
            self._step(session, params, exchange)
        return session.total, tuple(sorted(session.survivors))

    def _step(self, session: ServerSession, params: Vector, exchange: Exchange) -> None:
        """Sends one step of the session, feeds it the answers and closes the step."""
        inputs = session.step == "inputs"
        kind = SecureTrainRequest if inputs else SecureRequest
        requests: dict[str, Request] = {
            client: kind(run=self._run, round=exchange.round, payload=payload)
            for client, payload in session.requests().items()
        }
        done = 0
        for client, reply, message in exchange.send(requests, vectors=(params,) if inputs else ()):
            if not isinstance(reply, SecureReply):
                exchange.drop(client, "UnexpectedReply")
                continue
            vector = message.vectors[0] if len(message.vectors) == 1 else None
            try:
                session.receive(client, reply.payload, vector)
            except ProtocolError as error:
                exchange.drop(client, type(error).__name__)
                continue
            done += 1
            if inputs:
                self._observe(exchange.round, done, len(requests))
        session.advance()
