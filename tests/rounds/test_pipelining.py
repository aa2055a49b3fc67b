"""Rounds whose sessions overlap: three trips, five after a failure, and exact sums always."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedlearn._types import Vector
from fedlearn.aggregators.weighted_mean import WeightedMean
from fedlearn.crypto.agreement import AgreementKey
from fedlearn.rounds.client import Client
from fedlearn.rounds.messages import SecureRequest, decode_request
from fedlearn.rounds.outcome import RoundOutcome
from fedlearn.rounds.protection import SecureSum
from fedlearn.rounds.server import RoundServer
from fedlearn.rounds.transport import Lost, Message
from fedlearn.secagg import dealing
from fedlearn.secagg.cohort import Cohort
from fedlearn.secagg.latches import Latches, SqliteLatches
from fedlearn.secagg.messages import SealedShares
from fedlearn.secagg.ring import ideal_sum
from fedlearn.secagg.step import Step, step_of
from fedlearn.simulation.faults import Dropouts
from tests.rounds.parties import RUN, Constant, client, federation, names_of, rounding_of, updates_of

NAMES = names_of(6)
UPDATES = updates_of(NAMES)
WEIGHTS = {name: 1.0 - 0.1 * place for place, name in enumerate(NAMES)}
STEPS = [step for step in Step if step is not Step.FINISHED]
FLOOR = 4
"""Of the sessions here, whatever the cohort: agreed for six clients with one colluder."""


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
            yield Lost(client=request.client, reason="failed") if reached is None else self.deliver(reached)

    def deliver(self, request: Message) -> Message:
        return self.clients[request.client].handle(request)


def asked(message: Message) -> list[tuple[int, Step]]:
    """(Round, step) of each request in a message."""
    request = decode_request(message.body)
    if not isinstance(request, SecureRequest):
        return [(request.round, Step.INPUTS)]
    parts = [(request.round, step_of(request.payload))]
    return [*parts, (request.round + 1, step_of(request.ahead))] if request.ahead else parts


@dataclass
class Course:
    """Rounds over changing cohorts, each from a model of its own."""

    cohorts: Sequence[Sequence[str]]
    losing: Callable[[int, Message], Message | None] = lambda trip, message: message
    wired: Callable[..., Wire] = Wire

    def __post_init__(self) -> None:
        clients, secure = federation(UPDATES, WEIGHTS, mode="masked")
        assert secure is not None
        self.secure: SecureSum = secure
        self.wire = self.wired(clients, self.losing)
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
        weight = math.fsum(WEIGHTS[name] for name in outcome.survivors)
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
    course = Course([NAMES[:5], NAMES[1:6]])
    outcomes = course.run()
    assert trips_of(outcomes) == [5, 3]
    assert outcomes[1].survivors == tuple(NAMES[1:6])
    assert [trip.get(NAMES[5]) for trip in course.wire.trips[2:5]] == [
        [(1, Step.ADVERTISE)],
        None,
        [(1, Step.SHARE)],
    ]
    check_exact(course, outcomes)


def test_a_client_that_leaves_is_not_asked_for_the_next_round() -> None:
    course = Course([NAMES, NAMES[:5]])
    outcomes = course.run()
    assert [trip[NAMES[5]] for trip in course.wire.trips[2:5]] == [
        [(0, Step.INPUTS)],
        [(0, Step.AGREE)],
        [(0, Step.UNMASK)],
    ]
    assert outcomes[1].dropped == {}
    check_exact(course, outcomes)


# Faults


Vanishing = Mapping[tuple[str, int], Step]


def vanishing(schedule: Vanishing) -> Callable[[int, Message], Message | None]:
    """Clients that are gone from a step of a round on, and back in the next one."""
    dropouts = Dropouts(lambda client, round: schedule.get((client, round)), secure=True)
    return lambda trip, message: dropouts(message)


def in_the_sum(cohort: Sequence[str], round: int, schedule: Vanishing) -> tuple[str, ...]:
    late = {None, Step.AGREE, Step.UNMASK}
    return tuple(sorted(name for name in cohort if schedule.get((name, round)) in late))


cohorts = st.lists(st.sets(st.sampled_from(NAMES), min_size=FLOOR).map(sorted), min_size=3, max_size=5)
schedules = st.dictionaries(
    st.tuples(st.sampled_from(NAMES), st.integers(0, 4)), st.sampled_from(STEPS), max_size=9
)


@settings(max_examples=8)
@given(cohorts, schedules)
def test_whoever_comes_and_goes_sums_are_exact_and_trips_as_promised(
    drawn: list[list[str]], schedule: dict[tuple[str, int], Step]
) -> None:
    course = Course(drawn, vanishing(schedule))
    outcomes = course.run()
    check_exact(course, outcomes)
    before_gave_a_sum = False
    for outcome, cohort in zip(outcomes, drawn, strict=True):
        lost = sum((name, outcome.round) in schedule for name in cohort)
        if lost <= len(cohort) - FLOOR:
            assert outcome.failure is None, "that many may vanish, at whichever steps"
        if outcome.failure is None:
            assert outcome.survivors == in_the_sum(cohort, outcome.round, schedule)
            assert outcome.trips == (3 if before_gave_a_sum else 5)
        before_gave_a_sum = outcome.failure is None


@settings(max_examples=8)
@given(cohorts, st.sets(st.tuples(st.integers(0, 16), st.sampled_from(NAMES)), max_size=12))
def test_whatever_messages_are_lost_sums_are_exact(
    drawn: list[list[str]], losses: set[tuple[int, str]]
) -> None:
    course = Course(drawn, lambda trip, message: None if (trip, message.client) in losses else message)
    outcomes = course.run()
    check_exact(course, outcomes)
    for outcome, before in zip(outcomes[1:], outcomes, strict=False):
        if outcome.failure is None:
            assert outcome.trips in ({5} if before.failure else {3, 5})
            assert len(outcome.survivors) >= FLOOR


@pytest.mark.parametrize(("first", "second"), [*zip(STEPS, STEPS[::2] + STEPS[1::2], strict=True)])
def test_dropouts_in_two_rounds_running_cost_no_extra_trip(first: Step, second: Step) -> None:
    course = Course([NAMES] * 3, vanishing({(NAMES[2], 0): first, (NAMES[5], 1): second}))
    outcomes = course.run()
    assert trips_of(outcomes) == [5, 3, 3]
    assert outcomes[2].survivors == tuple(NAMES)
    check_exact(course, outcomes)


def test_masked_and_ideal_lose_the_same_clients_and_give_the_same_bits() -> None:
    schedule = {
        (name, round): step
        for round, (name, step) in enumerate(zip(NAMES, STEPS, strict=False))
        for name in (name, NAMES[(round + 3) % 6])
    }
    masked = Course([NAMES] * 5, vanishing(schedule))
    outcomes = masked.run()
    clients, secure = federation(UPDATES, WEIGHTS, mode="ideal")
    ideal = RoundServer(
        transport=Wire(clients, vanishing(schedule)),
        run=RUN,
        aggregator=WeightedMean(),
        weights=WEIGHTS,
        secure=secure,
    )
    for outcome in outcomes:
        plain = ideal.run_round(model_of(outcome.round), NAMES, round=outcome.round)
        assert plain.survivors == outcome.survivors
        assert plain.update is not None
        assert outcome.update is not None
        assert plain.update.tobytes() == outcome.update.tobytes()


def test_a_failed_round_starts_the_next_with_fresh_keys() -> None:
    gone = {(name, 1): Step.AGREE for name in NAMES[:5]}
    course = Course([NAMES] * 3, vanishing(gone))
    prepared, fresh = course.round(0), course.round(1)
    assert fresh.failure is not None
    assert "agree" in fresh.failure
    adverts = [trip for trip in course.wire.trips if (2, Step.ADVERTISE) in trip.get(NAMES[5], [])]
    assert len(adverts) == 1, "round 2 was being prepared when round 1 failed"
    last = course.round(2)
    assert trips_of([prepared, last]) == [5, 5]
    check_exact(course, [last])


def test_a_client_that_misses_the_training_trip_is_back_for_the_next_round() -> None:
    course = Course(
        [NAMES] * 2, lambda trip, message: None if (trip, message.client) == (2, NAMES[3]) else message
    )
    outcomes = course.run()
    assert NAMES[3] not in outcomes[0].survivors
    assert course.wire.trips[3][NAMES[3]] == [(1, Step.ADVERTISE)], "asked again beside the agreement"
    assert outcomes[1].survivors == tuple(NAMES)
    assert trips_of(outcomes) == [5, 3]


def test_a_client_that_let_a_deadline_pass_is_not_waited_for_twice() -> None:
    course = Course([NAMES] * 3)
    silent = course.wire.exchange

    def exchange(requests: Iterable[Message], *, deadline: float | None = None) -> Iterator[Message | Lost]:
        trip = len(course.wire.trips)
        for answer in silent(requests, deadline=deadline):
            late = (trip, answer.client) == (2, NAMES[3])
            yield Lost(client=NAMES[3], reason="timeout") if late else answer

    course.wire.exchange = exchange  # type: ignore[method-assign]
    outcomes = course.run()
    assert NAMES[3] not in course.wire.trips[3]
    assert outcomes[1].dropped == {NAMES[3]: "timeout"}
    assert trips_of(outcomes) == [5, 3, 3]
    assert outcomes[2].survivors == tuple(NAMES), "it is asked for the round after while this one goes on"


def test_a_prepared_session_of_another_cohort_or_round_expires() -> None:
    for cohort, round in ((NAMES[:5], 1), (NAMES, 2)):
        course = Course([NAMES] * 2)
        course.round(0)
        outcome = course.server.run_round(model_of(9), cohort, round=round)
        assert (outcome.trips, outcome.survivors) == (5, tuple(cohort))
        check_exact(course, [outcome])


def test_a_server_that_starts_anew_takes_five_trips() -> None:
    course = Course([NAMES] * 2)
    course.round(0)
    course.server = RoundServer(
        transport=course.wire, run=RUN, aggregator=WeightedMean(), weights=WEIGHTS, secure=course.secure
    )
    outcome = course.round(1)
    assert (outcome.trips, outcome.survivors) == (5, tuple(NAMES))


def test_a_preparation_that_fails_leaves_this_round_alone() -> None:
    gone = {(name, 1): Step.SHARE for name in NAMES[:4]}
    course = Course([NAMES] * 3, vanishing(gone))
    outcomes = course.run()
    assert [outcome.failure is None for outcome in outcomes] == [True, False, True]
    assert "share" in str(outcomes[1].failure)
    check_exact(course, outcomes)


def test_secrets_of_two_rounds_at_most_are_in_memory() -> None:
    course = Course([NAMES] * 4)
    for number in range(4):
        course.round(number)
        for resident in course.wire.clients.values():
            sessions = resident._member._sessions  # type: ignore[union-attr]
            assert len(sessions) <= 2
            with_secrets = {round for round, session in sessions.items() if session._secrets is not None}
            assert with_secrets == ({number + 1} if number < 3 else set())


def restarted(course: Course, name: str, latches: Latches) -> Client:
    """The client as its site starts it again: keys and latches are there, sessions are not."""
    known = course.wire.clients[name]._member
    assert known is not None
    membership = replace(known._membership, latches=latches)
    constant = Constant(UPDATES[name])
    return client(name, constant, weight=WEIGHTS[name], secure=course.secure, membership=membership)


def test_a_site_that_restarts_gives_nothing_twice_and_is_back_for_the_next_round(tmp_path: Path) -> None:
    course = Course([NAMES] * 3)
    path, name = tmp_path / "latches.db", NAMES[2]
    clients: dict[str, Client] = dict(course.wire.clients)
    course.wire.clients = clients

    def losing(trip: int, message: Message) -> Message:
        if trip in (0, 3) and message.client == name:  # before the first trip, and after its masked input
            clients[name] = restarted(course, name, SqliteLatches(path))
        return message

    course.wire.losing = losing
    first, second = course.round(0), course.round(1)
    assert name in first.survivors, "its input was given; its signature and shares were not"
    assert second.dropped == {name: "OutOfOrder"}, "its advert died with the process"
    third = course.round(2)
    assert third.survivors == tuple(NAMES)
    assert trips_of([first, second, third]) == [5, 3, 3]
    check_exact(course, [first, second, third])
    again = course.server.run_round(model_of(0), NAMES, round=3)
    assert again.dropped[name] == "AlreadyAnswered", "the model's latch outlived the process"


def dealing_badly(monkeypatch: pytest.MonkeyPatch, dealer: str, holders: Sequence[str]) -> None:
    """The dealer seals other shares for these holders than those whose hashes it signs."""
    seal = dealing._sealed

    def sealed(
        cohort: Cohort, by: str, holder: str, key: AgreementKey, held: dealing.HeldShares
    ) -> SealedShares:
        box = seal(cohort, by, holder, key, held)
        if by != dealer or holder not in holders:
            return box
        wrong = dealing.HeldShares(seed_share=held.key_share, key_share=held.seed_share)
        other = seal(cohort, by, holder, key, wrong)
        return SealedShares(other.box, box.seed_share_hash, box.key_share_hash)

    monkeypatch.setattr(dealing, "_sealed", sealed)


def test_an_accused_dealer_sits_out_the_next_round(monkeypatch: pytest.MonkeyPatch) -> None:
    course = Course([NAMES] * 3)
    dealing_badly(monkeypatch, NAMES[1], [NAMES[4]])
    first = course.round(0)
    monkeypatch.undo()
    others = [course.round(number) for number in (1, 2)]
    assert first.dropped == {NAMES[4]: "FaultyDealer"}, "the accuser gave no input: its shares were wrong"
    assert others[0].dropped == {NAMES[1]: "FaultyDealer"}
    assert others[1].survivors == tuple(NAMES)
    assert trips_of([first, *others]) == [5, 3, 3]
    check_exact(course, [first, *others])


def test_a_dealer_whom_all_accuse_costs_one_round(monkeypatch: pytest.MonkeyPatch) -> None:
    course = Course([NAMES] * 2)
    dealing_badly(monkeypatch, NAMES[1], NAMES)
    first = course.round(0)
    monkeypatch.undo()
    second = course.round(1)
    assert first.failure is not None
    assert second.dropped == {NAMES[1]: "FaultyDealer"}
    assert (second.trips, second.failure) == (5, None)
    check_exact(course, [second])
