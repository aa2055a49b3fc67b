"""Rounds whose sessions overlap: three trips, five after a failure, and exact sums always."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fedlearn._types import Vector
from fedlearn.aggregators.weighted_mean import WeightedMean
from fedlearn.rounds.client import Client
from fedlearn.rounds.messages import SecureRequest, decode_request
from fedlearn.rounds.protection import SecureSum
from fedlearn.rounds.server import RoundOutcome, RoundServer
from fedlearn.rounds.transport import Lost, Message
from fedlearn.secagg.ring import ideal_sum
from fedlearn.secagg.step import Step, step_of
from tests.rounds.parties import RUN, federation, names_of, rounding_of, updates_of

NAMES = names_of(8)
UPDATES = updates_of(NAMES)
WEIGHTS = {name: 1.0 - 0.1 * place for place, name in enumerate(NAMES)}
STEPS = [step for step in Step if step is not Step.FINISHED]
FLOOR = 5
"""Of the sessions here, whatever the cohort: agreed for eight clients with one colluder."""


@dataclass
class Wire:
    """Calls the clients; ``losing`` says which messages never arrive, ``trips`` what was asked in each."""

    clients: Mapping[str, Client]
    losing: Callable[[int, Message], Message | None] = lambda trip, message: message
    trips: list[dict[str, list[tuple[int, Step]]]] = field(default_factory=list)

    def exchange(
        self, requests: Iterable[Message], *, deadline: float | None = None
    ) -> Iterator[Message | Lost]:
        self.trips.append({})
        for request in requests:
            self.trips[-1][request.client] = asked(request)
            reached = self.losing(len(self.trips) - 1, request)
            if reached is None:
                yield Lost(client=request.client, reason="failed")
            else:
                yield self.clients[request.client].handle(reached)


def asked(message: Message) -> list[tuple[int, Step]]:
    """(Round, step) of each request in a message."""
    request = decode_request(message.body)
    assert isinstance(request, SecureRequest)
    parts = [(request.round, step_of(request.payload))]
    return [*parts, (request.round + 1, step_of(request.ahead))] if request.ahead else parts


@dataclass
class Course:
    """Rounds over changing cohorts, each from a model of its own."""

    cohorts: Sequence[Sequence[str]]
    losing: Callable[[int, Message], Message | None] = lambda trip, message: message

    def __post_init__(self) -> None:
        clients, secure = federation(UPDATES, WEIGHTS, mode="masked")
        assert secure is not None
        self.secure: SecureSum = secure
        self.wire = Wire(clients, self.losing)
        self.server = RoundServer(
            transport=self.wire, run=RUN, aggregator=WeightedMean(), weights=WEIGHTS, secure=secure
        )

    def run(self) -> list[RoundOutcome]:
        return [self.round(number) for number in range(len(self.cohorts))]

    def round(self, number: int, *, upcoming: bool = True) -> RoundOutcome:
        rest = self.cohorts[number + 1 : number + 2] if upcoming else []
        return self.server.run_round(
            model_of(number), self.cohorts[number], round=number, upcoming=rest[0] if rest else ()
        )

    def expected(self, outcome: RoundOutcome) -> Vector:
        """The plain sum of the survivors' encoded updates, as a mean."""
        encodings = [
            self.secure.encoding.encode(
                UPDATES[name], weight=WEIGHTS[name], bits=rounding_of(name)(outcome.round)
            )
            for name in outcome.survivors
        ]
        weight = sum(WEIGHTS[name] for name in outcome.survivors)
        return (self.secure.encoding.decode(ideal_sum(encodings)) / weight).astype(np.float32)


def model_of(round: int) -> Vector:
    return np.full(6, round, np.float32)


def check_exact(course: Course, outcomes: Sequence[RoundOutcome]) -> None:
    for outcome in outcomes:
        assert (outcome.update is None) == (outcome.failure is not None)
        if outcome.update is not None:
            assert outcome.update.tobytes() == course.expected(outcome).tobytes()


def trips_of(outcomes: Sequence[RoundOutcome]) -> list[int]:
    return [outcome.trips for outcome in outcomes]


def test_a_stable_cohort_takes_five_trips_once_and_three_from_then_on() -> None:
    course = Course([NAMES] * 4)
    outcomes = course.run()
    assert trips_of(outcomes) == [5, 3, 3, 3]
    assert all(outcome.survivors == tuple(NAMES) for outcome in outcomes)
    check_exact(course, outcomes)


def test_what_rides_in_which_message() -> None:
    course = Course([NAMES] * 2)
    course.run()
    assert [trip[NAMES[0]] for trip in course.wire.trips] == [
        [(0, Step.ADVERTISE)],
        [(0, Step.SHARE)],
        [(0, Step.INPUTS), (1, Step.ADVERTISE)],
        [(0, Step.AGREE)],
        [(0, Step.UNMASK), (1, Step.SHARE)],
        [(1, Step.INPUTS)],
        [(1, Step.AGREE)],
        [(1, Step.UNMASK)],
    ]


def test_a_newcomer_is_asked_in_messages_of_its_own_and_costs_no_trip() -> None:
    course = Course([NAMES[:6], NAMES[1:8]])
    outcomes = course.run()
    assert trips_of(outcomes) == [5, 3]
    assert outcomes[1].survivors == tuple(NAMES[1:8])
    assert [trip.get(NAMES[7]) for trip in course.wire.trips[2:5]] == [
        [(1, Step.ADVERTISE)],
        None,
        [(1, Step.SHARE)],
    ]
    check_exact(course, outcomes)


def test_a_client_that_leaves_is_not_asked_for_the_next_round() -> None:
    course = Course([NAMES, NAMES[:6]])
    outcomes = course.run()
    assert [trip[NAMES[7]] for trip in course.wire.trips[2:5]] == [
        [(0, Step.INPUTS)],
        [(0, Step.AGREE)],
        [(0, Step.UNMASK)],
    ]
    assert outcomes[1].dropped == {}
    check_exact(course, outcomes)
