"""A Flower grid as our transport: exactly one answer per client, whatever the network does."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedlearn.errors import ConfigError, RunError
from fedlearn.federation.grid import GridTransport
from fedlearn.rounds.transport import Lost, Message
from tests.federation import fake_grid
from tests.federation.fake_grid import Clock, FakeGrid

NAMES = tuple(f"client-{index}" for index in range(5))


@pytest.fixture
def clock() -> Clock:
    return Clock()


def transport(grid: FakeGrid, clock: Clock, **changes: Any) -> GridTransport:
    options: dict[str, Any] = {
        "addresses": {},
        "clock": clock,
        "sleep": clock.sleep,
        "check": lambda: None,
    } | changes
    return GridTransport(grid, **options)


def requests(names: tuple[str, ...] = NAMES) -> Iterator[Message]:
    for name in names:
        yield Message(client=name, body=name.encode(), vectors=(np.arange(3, dtype=np.float32),))


def test_every_client_answers_once(clock: Clock) -> None:
    answers = list(transport(FakeGrid(), clock).exchange(requests()))
    assert sorted(answer.client for answer in answers) == list(NAMES)
    for answer in answers:
        assert isinstance(answer, Message)
        assert answer.body == answer.client.encode()
        np.testing.assert_array_equal(answer.vectors[0], [0, 1, 2])


BEHAVIOURS = {
    "echo": (fake_grid.echo, None),
    "twice": (fake_grid.twice, None),
    "silent": (fake_grid.silent, "timeout"),
    "refuse": (fake_grid.refuse, "unreachable"),
    "fail": (fake_grid.fail, "failed"),
    "lie": (fake_grid.lie, "failed"),
    "babble": (fake_grid.babble, "failed"),
    "lost": (fake_grid.lost("unreachable"), "unreachable"),
}


@given(
    behaviours=st.lists(st.sampled_from(sorted(BEHAVIOURS)), min_size=1, max_size=12),
    nodes=st.integers(1, 4),
    batch=st.integers(1, 5),
    in_flight=st.integers(1, 8),
)
def test_one_answer_per_client_whatever_happens(
    behaviours: list[str], nodes: int, batch: int, in_flight: int
) -> None:
    clock = Clock()
    names = tuple(f"{index}-{what}" for index, what in enumerate(behaviours))
    clients = {name: BEHAVIOURS[what][0] for name, what in zip(names, behaviours, strict=True)}
    grid = FakeGrid(clients, nodes=range(nodes), batch=batch)
    answers = list(transport(grid, clock, in_flight=in_flight).exchange(requests(names), deadline=5.0))
    assert sorted(answer.client for answer in answers) == sorted(names)
    starved = in_flight <= behaviours.count("silent")  # silent clients held every place until the end
    for answer in answers:
        expected = BEHAVIOURS[answer.client.partition("-")[2]][1]
        reason = answer.reason if isinstance(answer, Lost) else None
        assert reason == expected or (starved and reason == "timeout")


def test_replies_come_one_by_one_as_they_arrive(clock: Clock) -> None:
    exchange = transport(FakeGrid({NAMES[0]: fake_grid.silent}), clock).exchange(requests(), deadline=9.0)
    early = [next(exchange).client for _ in NAMES[1:]]
    assert sorted(early) == list(NAMES[1:])
    assert clock.now < 1009.0
    assert list(exchange) == [Lost(client=NAMES[0], reason="timeout")]
    assert clock.now >= 1009.0


def test_requests_are_taken_as_they_are_sent(clock: Clock) -> None:
    grid = FakeGrid()
    list(transport(grid, clock, in_flight=2).exchange(requests()))
    assert grid.most_unanswered == 2


def test_messages_go_to_the_nodes_in_turn(clock: Clock) -> None:
    grid = FakeGrid(nodes=(11, 12))
    carrier = transport(grid, clock)
    for _ in range(2):
        list(carrier.exchange(requests()))
    nodes = [message.metadata.dst_node_id for message in grid.pushed]
    assert nodes == [11, 12] * 5


def test_a_request_names_the_socket_of_its_client_and_the_time_left(clock: Clock) -> None:
    grid = FakeGrid()
    list(
        transport(grid, clock, addresses={NAMES[0]: "/a/socket"}).exchange(requests(NAMES[:1]), deadline=5.0)
    )
    errand = fake_grid.content_of(grid.pushed[0])
    assert (errand.address, errand.seconds) == ("/a/socket", 5.0)
    assert grid.pushed[0].metadata.ttl == 65.0


def test_no_deadline_waits_without_end(clock: Clock) -> None:
    grid = FakeGrid()
    list(transport(grid, clock).exchange(requests(NAMES[:1])))
    assert math.isinf(fake_grid.content_of(grid.pushed[0]).seconds)


def test_a_late_reply_is_fetched_and_forgotten(clock: Clock) -> None:
    grid = FakeGrid({NAMES[0]: fake_grid.silent})
    carrier = transport(grid, clock)
    assert list(carrier.exchange(requests(NAMES[:1]), deadline=1.0)) == [
        Lost(client=NAMES[0], reason="timeout")
    ]
    grid.replies.extend(fake_grid.echo(grid.pushed[0]))
    grid.clients.clear()
    answers = list(carrier.exchange(requests()))
    assert sorted(answer.client for answer in answers) == list(NAMES)
    assert grid.replies == []


def test_an_exchange_left_early_leaves_nothing_to_the_next(clock: Clock) -> None:
    grid = FakeGrid()
    carrier = transport(grid, clock)
    exchange = carrier.exchange(requests())
    next(exchange)
    exchange.close()
    answers = list(carrier.exchange(requests(NAMES[:2])))
    assert sorted(answer.client for answer in answers) == list(NAMES[:2])
    assert grid.replies == []


def test_without_a_node_the_wait_ends_and_says_what_to_check(clock: Clock) -> None:
    with pytest.raises(RunError, match=r"no Flower node .* 60 s.*num-supernodes"):
        next(iter(transport(FakeGrid(nodes=()), clock).exchange(requests())))
    assert clock.now >= 1060.0


def test_a_node_that_comes_late_is_used(clock: Clock) -> None:
    grid = FakeGrid(nodes=())

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        grid.nodes = [5] if clock.now > 1003.0 else []

    assert len(list(transport(grid, clock, sleep=sleep).exchange(requests()))) == len(NAMES)


def test_when_flower_stops_a_round_does_not_wait_for_ever(clock: Clock) -> None:
    def stopped() -> None:
        raise RunError("Flower stopped")

    carrier = transport(FakeGrid({NAMES[0]: fake_grid.silent}), clock, check=stopped)
    with pytest.raises(RunError, match="Flower stopped"):
        list(carrier.exchange(requests()))


@pytest.mark.parametrize("option", ["in_flight", "poll_seconds", "node_seconds"])
def test_options_are_positive(clock: Clock, option: str) -> None:
    with pytest.raises(ConfigError, match=option):
        transport(FakeGrid(), clock, **{option: 0})
