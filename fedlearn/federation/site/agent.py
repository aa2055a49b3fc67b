"""The site agent: a server's signed messages in, signed answers out. No sockets, no threads.

It accepts data, never code. What it takes part in is decided by the site's policy; how a round goes
is :class:`fedlearn.rounds.client.Client`'s business.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from fedlearn.crypto.identity import SigningKey
from fedlearn.errors import FedLearnError, MalformedMessage, UnknownClient
from fedlearn.experiment.stages import run_of
from fedlearn.federation import terms
from fedlearn.federation.envelope import Opened, check_clock, open_envelope, seal
from fedlearn.federation.roster import FederationRoster
from fedlearn.federation.site.enrolment import Enrolling
from fedlearn.federation.site.journal import told
from fedlearn.federation.site.participation import Participation
from fedlearn.federation.terms import Acceptance, Finish, Inquiry, Proposal, Refusal, SiteReply
from fedlearn.rounds.messages import Failure, decode_request, encode
from fedlearn.rounds.transport import Lost, Message
from fedlearn.secagg.latches import Latches


@dataclass(kw_only=True)
class Counters:
    """What the agent has done since it started; for status and metrics."""

    requests: int = 0
    refusals: int = 0
    rejected: int = 0
    rounds: int = 0
    run: str = ""
    round: int = 0
    last: float = field(default=0.0)


class Agent:
    """Answers one message at a time.

    Guarantee: nothing leaves but answers to messages that the roster's server key signed, each
    answered once, for runs that the policy allows.

    Args:
      site: its name.
      key: signs the answers.
      roster: whose server is believed.
      enrolling: decides on inquiries and proposals.
      resume: run id → the participation in an accepted run, or None.
      seen: ids of the messages that were read.
      clock: seconds since 1970.
    """

    def __init__(
        self,
        *,
        site: str,
        key: SigningKey,
        roster: FederationRoster,
        enrolling: Enrolling,
        resume: Callable[[str], Participation | None],
        seen: Latches,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.counters = Counters()
        self._site = site
        self._key = key
        self._roster = roster
        self._enrolling = enrolling
        self._resume = resume
        self._seen = seen
        self._clock = clock
        self._current: Participation | None = None

    def handle(self, message: Message) -> Message | Lost:
        """Returns the signed answer; :class:`Lost` to whatever the server did not sign."""
        self.counters.requests += 1
        self.counters.last = self._clock()
        try:
            opened = self._opened(message)
        except FedLearnError as error:
            self.counters.rejected += 1
            told("message rejected", error=type(error).__name__, reason=str(error)[:256], size=message.size)
            return Lost(client=self._site, reason="failed")
        answer = self._answer(opened)
        sealed, _ = seal(answer, kind=opened.kind, key=self._key, clock=self._clock, answers=opened.id)
        return sealed

    def _opened(self, message: Message) -> Opened:
        if message.client != self._site:
            raise UnknownClient(f"message for {message.client[:64]!r} reached site {self._site!r}")
        return open_envelope(message, author=self._roster.server)

    def _answer(self, opened: Opened) -> Message:
        started = self._clock()
        try:
            check_clock(opened.sent, now=started)
            self._seen.close(f"message|{opened.id.hex()}")
            answer = self._for_site(opened.message) if opened.kind == "site" else self._round(opened.message)
        except FedLearnError as error:
            told("request failed", error=type(error).__name__, reason=_public(error))
            answer = self._failure(opened, error)
        except Exception as error:
            told("request failed", error=type(error).__name__)
            answer = self._failure(opened, error)
        return answer

    def _for_site(self, message: Message) -> Message:
        request = terms.decode_request(message.body)
        reply = self._reply(request)
        kind, outcome = type(request).__name__, type(reply).__name__
        if isinstance(reply, Refusal):
            self.counters.refusals += 1
            told("refused", run=request.run, rule=reply.rule, asked=reply.asked, allowed=reply.allowed)
        else:
            told("answered", run=request.run, request=kind, reply=outcome)
        return Message(client=self._site, body=terms.encode(reply))

    def _reply(self, request: terms.SiteRequest) -> SiteReply:
        if isinstance(request, Inquiry):
            return self._enrolling.standing(request)
        if isinstance(request, Proposal):
            accepted = self._enrolling.accept(request)
            if isinstance(accepted, Refusal):
                return accepted
            self._current = accepted
        if isinstance(request, Finish) and self._current is not None and self._current.run == request.run:
            self._current = None
        return Acceptance(run=request.run)

    def _round(self, message: Message) -> Message:
        request = decode_request(message.body)
        run = run_of(request.run)
        if self._current is None or self._current.run != run:
            self._current = self._resume(run)
        if self._current is None:
            raise UnknownClient(f"run {request.run[:64]!r} was not accepted here")
        started = self._clock()
        answer = self._current.answer(message)
        self.counters.run, self.counters.round = request.run, request.round
        self.counters.rounds += bool(answer.vectors)
        told(
            "answered",
            run=request.run,
            round=request.round,
            request=type(request).__name__,
            size=answer.size,
            seconds=round(self._clock() - started, 3),
        )
        return answer

    def _failure(self, opened: Opened, error: Exception) -> Message:
        """Returns what the server is told: the error's class name, and nothing about records."""
        run, number = "unknown", 0
        try:
            if opened.kind == "round":
                request = decode_request(opened.message.body)
                run, number = request.run, request.round
            else:
                run = terms.decode_request(opened.message.body).run
        except MalformedMessage:
            pass
        if opened.kind == "site":
            rule = type(error).__name__
            refusal = Refusal(run=_run_id(run), rule=rule, asked=_public(error), allowed="see the site's log")
            return Message(client=self._site, body=terms.encode(refusal))
        failure = Failure(run=run, round=number, code=type(error).__name__)
        return Message(client=self._site, body=encode(failure))


def _public(error: Exception) -> str:
    """Returns the error's line where it speaks of messages and settings, not of records."""
    from fedlearn.errors import ConfigError, PrivacyError, ProtocolError, RunError

    spoken = (ConfigError, ProtocolError, PrivacyError, RunError)
    return str(error)[:256] if isinstance(error, spoken) else "(not told: it may speak of records)"


def _run_id(run: str) -> str:
    return run if run.isascii() else "unknown"
