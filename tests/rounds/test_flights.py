"""Who trains when: events in order, everyone at most once a round, and the same after a restart."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedlearn.errors import TooFewClients
from fedlearn.experiment.virtual import Names
from fedlearn.fleet import DrawnFleet, Pace, Window
from fedlearn.rounds.flights import Flight, Flights
from tests.rounds.parties import names_of


class Hangar:
    """Clients that are online as a test says."""

    def __init__(self, windows: Mapping[str, tuple[Window, ...]] | None = None) -> None:
        self._windows = windows or {}

    def pace(self, client: str) -> Pace:
        return Pace()

    def online(self, client: str, since: float) -> Iterator[Window]:
        yield from (w for w in self._windows.get(client, ((0.0, float("inf")),)) if w[1] > since)


def flights_of(
    seconds: Mapping[str, float],
    *,
    concurrency: int,
    windows: Mapping[str, tuple[Window, ...]] | None = None,
    patience: float | None = None,
) -> Flights:
    return Flights(
        sorted(seconds),
        fleet=Hangar(windows),
        seconds=seconds.__getitem__,
        concurrency=concurrency,
        seed=1,
        patience=patience,
    )


def test_the_fast_land_between_the_slow() -> None:
    """a takes 2 s, b 3 s, and nobody else there: by hand."""
    flights = flights_of({"a": 2.0, "b": 3.0}, concurrency=2)
    landed = []
    for version in range(5):
        flights.begin_round()
        flight = flights.land(version)
        landed.append((flight.lands, flight.client, version - flight.version))
    assert landed == [(2.0, "a", 0), (3.0, "b", 1), (4.0, "a", 1), (6.0, "a", 0), (6.0, "b", 2)]


def test_who_landed_waits_for_the_next_round() -> None:
    flights = flights_of({"a": 1.0, "b": 10.0}, concurrency=2)
    assert [flights.land(0).client, flights.land(0).client] == ["a", "b"]
    with pytest.raises(TooFewClients, match="all 2 clients that ever come online have landed"):
        flights.land(0)
    flights.begin_round()
    assert flights.land(1) == Flight(lands=11.0, client="a", version=1)


def test_time_waits_for_the_first_to_come_online() -> None:
    flights = flights_of({"a": 1.0}, concurrency=1, windows={"a": ((5.0, 5.5), (9.0, 99.0))})
    assert flights.land(0).lands == 9.5
    assert flights.now == 9.5


def test_who_takes_too_long_is_given_up() -> None:
    flights = flights_of({"a": 10.0}, concurrency=1, patience=4.0)
    assert flights.land(0) == Flight(lands=4.0, client="a", version=0, arrives=False)


def test_who_never_comes_back_holds_its_place_to_the_end() -> None:
    flights = flights_of({"a": 10.0, "b": 1.0}, concurrency=2, windows={"a": ((0.0, 5.0),)})
    assert flights.land(0).client == "b"
    flights.begin_round()
    assert flights.land(1).client == "b"
    last = flights.land(1)
    assert (last.client, last.arrives, flights.now) == ("a", False, 2.0)


@settings(max_examples=25)
@given(seed=st.integers(0, 1000), concurrency=st.integers(1, 8), buffer=st.integers(1, 8))
def test_order_holds_and_survives_a_restart(seed: int, concurrency: int, buffer: int) -> None:
    fleet = DrawnFleet(
        seed=seed,
        median=Pace(records_per_second=1.0),
        speed_spread=1.0,
        online_seconds=20.0,
        offline_seconds=5.0,
    )
    names = names_of(8)

    def fresh() -> Flights:
        return Flights(
            names,
            fleet=fleet,
            seconds=lambda name: 10.0 / fleet.pace(name).records_per_second,
            concurrency=concurrency,
            seed=seed,
        )

    def rounds(flights: Flights, first: int, count: int) -> list[list[Flight]]:
        landed = []
        for version in range(first, first + count):
            flights.begin_round()
            landed.append([flights.land(version) for _ in range(buffer)])
        return landed

    whole = rounds(fresh(), 0, 6)
    flights = fresh()
    rounds(flights, 0, 3)
    again = fresh()
    again.restore(json.loads(json.dumps(flights.to_dict())))
    assert rounds(again, 3, 3) == whole[3:]
    times = [flight.lands for landed in whole for flight in landed]
    assert times == sorted(times)
    for version, landed in enumerate(whole):
        clients = [flight.client for flight in landed]
        assert len(set(clients)) == len(clients), "nobody lands twice in a round"
        assert all(flight.version <= version for flight in landed)
    assert len(again.airborne) <= concurrency


def test_of_a_million_some_take_off_and_the_others_take_no_memory() -> None:
    flights = Flights(
        Names(1_000_000),
        fleet=DrawnFleet(
            seed=0, median=Pace(records_per_second=1.0), online_seconds=10.0, offline_seconds=10.0
        ),
        seconds=lambda name: 3.0,
        concurrency=20,
        seed=0,
    )
    landed = [flights.land(0) for _ in range(50)]
    assert len({flight.client for flight in landed}) == 50
    assert len(flights.airborne) == 19, "the place of the last is taken when the next is asked for"
