"""A transport whose requests are signed by the server and whose replies by the sites."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from fedlearn.crypto.identity import SigningKey
from fedlearn.errors import ProtocolError, TamperedMessage, UnknownClient
from fedlearn.federation import terms
from fedlearn.federation.envelope import Kind, LastDigest, check_clock, open_envelope, seal
from fedlearn.federation.roster import FederationRoster
from fedlearn.federation.terms import SiteReply, SiteRequest
from fedlearn.rounds.transport import Lost, Message, Transport

_log = logging.getLogger(__name__)


class SealedTransport:
    """Signs what goes to sites and opens what comes back; what does not verify is a loss, by name.

    Args:
      inner: moves the messages.
      key: the server's.
      roster: the sites' keys.
      step_seconds: deadline of an exchange that has none of its own.
      clock: seconds since 1970.
    """

    def __init__(
        self,
        inner: Transport,
        *,
        key: SigningKey,
        roster: FederationRoster,
        step_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._inner = inner
        self._key = key
        self._roster = roster
        self._step_seconds = step_seconds
        self._clock = clock
        self._digest = LastDigest()

    def exchange(
        self, requests: Iterable[Message], *, deadline: float | None = None
    ) -> Iterator[Message | Lost]:
        """Sends the requests of one step of a round; see :class:`fedlearn.rounds.transport.Transport`."""
        return self._exchange(requests, kind="round", deadline=deadline)

    def ask(
        self, requests: Mapping[str, SiteRequest], *, deadline: float | None = None
    ) -> dict[str, SiteReply | Lost]:
        """Sends each site its request about a run and returns the answers."""
        messages = [Message(client=site, body=terms.encode(request)) for site, request in requests.items()]
        answers: dict[str, SiteReply | Lost] = {}
        for answer in self._exchange(messages, kind="site", deadline=deadline):
            answers[answer.client] = answer if isinstance(answer, Lost) else _reply(answer)
        return answers

    def _exchange(
        self, requests: Iterable[Message], *, kind: Kind, deadline: float | None
    ) -> Iterator[Message | Lost]:
        asked: dict[str, bytes] = {}
        for answer in self._inner.exchange(
            self._sealed(requests, kind, asked), deadline=deadline or self._step_seconds
        ):
            yield answer if isinstance(answer, Lost) else self._opened(answer, kind, asked)

    def _sealed(self, requests: Iterable[Message], kind: Kind, asked: dict[str, bytes]) -> Iterator[Message]:
        for request in requests:
            sealed, asked[request.client] = seal(
                request, kind=kind, key=self._key, clock=self._clock, digest=self._digest
            )
            yield sealed

    def _opened(self, answer: Message, kind: Kind, asked: Mapping[str, bytes]) -> Message | Lost:
        try:
            member = self._roster.members.get(answer.client)
            if member is None:
                raise UnknownClient(f"site {answer.client!r} is not on the roster")
            opened = open_envelope(answer, author=member.key)
            if opened.kind != kind or opened.answers != asked.get(answer.client):
                raise TamperedMessage("the answer belongs to another request")
            check_clock(opened.sent, now=self._clock(), skew=self._step_seconds + 300.0)
        except ProtocolError as error:
            _log.warning("site %r: %s: %s", answer.client, type(error).__name__, error)
            return Lost(client=answer.client, reason=type(error).__name__)
        return opened.message


def _reply(answer: Message) -> SiteReply | Lost:
    try:
        return terms.decode_reply(answer.body)
    except ProtocolError as error:
        return Lost(client=answer.client, reason=type(error).__name__)
