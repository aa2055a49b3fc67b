"""The next round's session, prepared in the messages of this one.

Its adverts (R0) ride beside the masked inputs and, for clients that came back meanwhile, beside the
agreement; its shares (R1) ride beside the unmasking. What may change from round to round — the model,
the configuration — is bound in R2, where the next round then starts: three trips instead of five.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fedlearn.errors import FaultyDealer, ProtocolError, TooFewClients
from fedlearn.secagg.server import ServerSession
from fedlearn.secagg.step import Step

_RIDES_BESIDE = {Step.INPUTS: Step.ADVERTISE, Step.AGREE: Step.ADVERTISE, Step.UNMASK: Step.SHARE}
"""Step of this round → step of the next one."""

TIMEOUT = "timeout"
"""The reason of a client that let a deadline pass: asking it again could cost another deadline."""


class Preparation:
    """A session on its way to R2.

    Args:
      session: the next round's, before its first step.
      round: the round it is for, counted from 0.
      cohort: the clients that it is for.
      missing: client → coarse reason why it gave no answer for that round; whoever carries the
        messages adds to it.

    Attributes:
      missing: as given.
    """

    def __init__(
        self, session: ServerSession, *, round: int, cohort: Sequence[str], missing: dict[str, str]
    ) -> None:
        self.missing = missing
        self._session = session
        self._round = round
        self._cohort = tuple(cohort)
        self._hopeless = False

    def requests(self, beside: Step) -> dict[str, bytes]:
        """Returns what rides in the messages of a step of this round, by client."""
        if self._hopeless or _RIDES_BESIDE.get(beside) is not self._session.step:
            return {}
        requests = self._session.requests()
        return {client: body for client, body in requests.items() if self.missing.get(client) != TIMEOUT}

    def receive(self, client: str, body: bytes) -> None:
        """Takes an answer; one that is refused makes its client missing."""
        try:
            self._session.receive(client, body)
        except ProtocolError as error:
            self.missing[client] = type(error).__name__
        else:
            self.missing.pop(client, None)

    def close(self, beside: Step, *, accused: Collection[str]) -> None:
        """Ends what rode beside a step of this round, which is over.

        Args:
          beside: the step.
          accused: dealers of wrong shares in this round: they sit out the next one.
        """
        if self._hopeless:
            return
        if beside is Step.INPUTS:
            for dealer in accused:
                self._session.exclude(dealer, "accused of wrong shares in the round before")
                self.missing[dealer] = FaultyDealer.__name__
        elif beside in (Step.AGREE, Step.UNMASK):
            self._advance()

    def session_for(self, round: int, cohort: Sequence[str]) -> ServerSession | None:
        """Returns the session if it is ready for this very round and cohort; else it has expired."""
        expected = not self._hopeless and (self._round, self._cohort) == (round, tuple(cohort))
        return self._session if expected and self._session.step is Step.INPUTS else None

    def _advance(self) -> None:
        try:
            self._session.advance()
        except TooFewClients:
            self._hopeless = True  # the next round begins anew, with fresh keys
