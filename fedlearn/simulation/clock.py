"""Simulated time: how long clients take, who is too late, and when a step is over."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fedlearn.errors import ConfigError
from fedlearn.experiment.pace import enough
from fedlearn.experiment.setup import RunSetup
from fedlearn.experiment.work import Work
from fedlearn.fleet.pace import Stretch
from fedlearn.rounds.messages import ReceiptRequest, decode_request
from fedlearn.rounds.transport import Adding, Lost, Message, Transport
from fedlearn.simulation.inprocess import Reaching, reaching_of

_MOST_CHECKED = 10_000
"""Clients whose pace is looked at before a run, to see whether anybody can meet its deadline."""


@dataclass(frozen=True, kw_only=True)
class _Step:
    """One exchange, as the clock foresees it.

    Attributes:
      requests: client → what it is sent.
      stretches: client → when it works on it; of requests that train nothing: until it begins to answer.
      in_time: the clients that train and whose vectors are taken.
      full: whether these are as many as the step needs.
      closes: when no further vector is taken.
      ends: when no further answer is taken.
    """

    requests: Mapping[str, Message]
    stretches: Mapping[str, Stretch]
    in_time: frozenset[str]
    full: bool
    closes: float
    ends: float

    def reached(self, client: str) -> bool:
        """Returns whether the client sees the request before it is of no use any more."""
        begun = self.stretches[client].begun
        return begun <= (self.closes if self.trains(client) else self.ends) and math.isfinite(begun)

    def trains(self, client: str) -> bool:
        """Returns whether the client is asked to train."""
        return bool(self.requests[client].vectors)

    def sent(self, client: str) -> Message:
        """Returns what the client gets."""
        request = self.requests[client]
        return replace(request, late=True) if self.trains(client) and client not in self.in_time else request

    def tardiness(self, client: str) -> str:
        """Returns why a trained answer is not taken; empty if it is."""
        if client in self.in_time:
            return ""
        return "surplus" if self.full and self.stretches[client].done <= self.ends else "timeout"


class Clocked:
    """Another transport's answers, each at its simulated time; a transport that is Adding and Timed.

    Who answers after the deadline, or after enough others, is lost. It is asked all the same, as in the
    field: it trains, is charged for it and keeps what it keeps, and what it sends is added to nothing. Who is
    offline until the step is over is not reached. Without a deadline a step waits for whoever is
    offline, and knows at once who has vanished for good.

    Guarantee: times follow from seed, configuration and earlier answers, never from how fast this
    machine is; any number of workers gives the same ones.

    Args:
      inner: who answers.
      work: how long clients take.
      enough: vectors that end a step of training; None waits for all, as a release of statistics does.
      reaching: the simulated fault of ``inner``: who has vanished is not among the fastest.
      now: simulated time at the start.
    """

    def __init__(
        self,
        inner: Transport,
        work: Work,
        *,
        enough: int | None = None,
        reaching: Reaching = lambda request: request,
        now: float = 0.0,
    ) -> None:
        self._inner = inner
        self._work = work
        self._enough = enough
        self._reaching = reaching
        self.now = now

    def exchange(
        self, requests: Iterable[Message], *, deadline: float | None = None
    ) -> Iterator[Message | Lost]:
        """Yields answers, and lets their time pass; the deadline is in simulated seconds."""
        given = list(requests)
        if not given or isinstance(decode_request(given[0].body), ReceiptRequest):
            # The rounds are over, and with them the time that they are measured by.
            yield from self._inner.exchange(given, deadline=deadline)
            return
        step = self._foreseen(given, math.inf if deadline is None else self.now + deadline)
        over, waits = self.now, False
        for answer in self._answers(step):
            done = self._done(step, answer)
            if isinstance(answer, Message) and done <= step.ends:
                over = max(over, done)
                yield answer
            else:
                waits = waits or not (step.full and step.trains(answer.client))
                yield answer if isinstance(answer, Lost) else Lost(client=answer.client, reason="timeout")
        self.now = step.ends if waits and math.isfinite(step.ends) else over

    def partial_sums(self) -> Iterable[Any]:
        """Yields what the transport behind has added up."""
        return self._inner.partial_sums() if isinstance(self._inner, Adding) else ()

    def _foreseen(self, given: Sequence[Message], ends: float) -> _Step:
        stretches = {request.client: self._work.stretch(request, at=self.now) for request in given}
        arriving = [
            request.client
            for request in given
            if stretches[request.client].done <= ends and self._trains(request)
        ]
        arriving.sort(key=lambda client: (stretches[client].done, client))
        enough = self._enough if self._work.is_round(given[0]) else None
        in_time = [client for client in arriving[:enough] if math.isfinite(stretches[client].done)]
        full = enough is not None and len(in_time) == enough
        return _Step(
            requests={request.client: request for request in given},
            stretches=stretches,
            in_time=frozenset(in_time),
            full=full,
            closes=stretches[in_time[-1]].done if full else ends,
            ends=ends,
        )

    def _trains(self, request: Message) -> bool:
        reached = self._reaching(request)
        return reached is not None and bool(reached.vectors)

    def _answers(self, step: _Step) -> Iterator[Message | Lost]:
        """Yields every client's answer; of trained ones that come too late, that they are lost."""
        for client in step.requests:
            if not step.reached(client):
                yield Lost(client=client, reason="unavailable")
        sent = [step.sent(client) for client in step.requests if step.reached(client)]
        for answer in self._inner.exchange(sent):
            tardy = step.trains(answer.client) and step.tardiness(answer.client)
            if tardy and isinstance(answer, Message):
                yield Lost(client=answer.client, reason=tardy)
            else:
                yield answer

    def _done(self, step: _Step, answer: Message | Lost) -> float:
        if isinstance(answer, Lost):
            return math.inf
        if step.trains(answer.client):
            return step.stretches[answer.client].done
        return self._work.stretch(step.requests[answer.client], at=self.now, up=answer.size).done


def clocked(setup: RunSetup, transport: Transport, *, now: float = 0.0) -> Transport:
    """Returns the transport on the simulated clock; itself if the experiment has none.

    Args:
      setup: what the parties of the run agree on.
      transport: the transport of a simulation.
      now: simulated time at which the run is taken up.

    Raises:
      ConfigError: a deadline that nobody can meet, or so few clients in a round that their sum stays hidden.
      DataError: the trace breaks its schema, or a client is not in it.
    """
    experiment, work = setup.experiment, setup.work
    if work is None:
        return transport
    check_deadline(setup, work)
    if experiment.config.asynchronous.enabled:
        return transport  # each client's time is that of its own flight
    return Clocked(
        transport,
        work,
        enough=enough(experiment.config, experiment.population),
        reaching=reaching_of(setup),
        now=now,
    )


def check_deadline(setup: RunSetup, work: Work) -> None:
    """Raises ConfigError if the fastest client needs longer than the deadline for a round of training.

    Of a very large population the first round's cohort is looked at.
    """
    deadline = setup.experiment.config.cohort.deadline_seconds
    if deadline is None:
        return
    names = setup.experiment.population.names
    names = names if len(names) <= _MOST_CHECKED else setup.cohort(0)
    seconds, fastest = min(((work.round_seconds(name), name) for name in names), default=(0.0, ""))
    if seconds > deadline:
        raise ConfigError(
            f"cohort.deadline_seconds={deadline:g} is met by nobody: the fastest client, {fastest!r}, takes"
            f" {seconds:.4g} seconds for a round; raise it above that, or train less a round"
        )
