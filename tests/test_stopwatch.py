"""Where the time goes: every second is counted once, whatever interrupts whatever."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedlearn import stopwatch
from fedlearn.stopwatch import PHASES, Phase, phase, running, timed


class Clock:
    """Moves when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_phase_counts_its_own_time_and_interrupts_the_one_outside(clock: Clock) -> None:
    with running(clock=clock) as watch:
        clock.now += 1
        with phase("training"):
            clock.now += 2
            with phase("data"):
                clock.now += 4
            clock.now += 8
        clock.now += 16
    counted = {name: seconds for name, seconds in watch.by_phase().items() if seconds}
    assert counted == {"other": 17.0, "training": 10.0, "data": 4.0}


def test_a_phase_ends_when_it_raises(clock: Clock) -> None:
    @timed("noise")
    def fails() -> None:
        clock.now += 1
        raise ValueError("lost")

    with running(clock=clock) as watch:
        with pytest.raises(ValueError, match="lost"):
            fails()
        clock.now += 2
    assert (watch.by_phase()["noise"], watch.by_phase()["other"]) == (1.0, 2.0)


def test_a_recursion_is_counted_once(clock: Clock) -> None:
    @timed("clipping")
    def recursing(depth: int) -> None:
        clock.now += 1
        if depth:
            recursing(depth - 1)

    with running(clock=clock) as watch:
        recursing(3)
    assert watch.by_phase()["clipping"] == 4.0


Tree = list[tuple[Phase, float, "Tree"]]
trees: st.SearchStrategy[Tree] = st.recursive(
    st.just([]),
    lambda inner: st.lists(
        st.tuples(st.sampled_from(PHASES), st.integers(0, 100).map(float), inner), max_size=3
    ),
    max_leaves=12,
)


@given(tree=trees)
def test_the_phases_add_up_to_the_time_that_passed(tree: Tree) -> None:
    clock, started = Clock(), 100.0

    def walk(tree: Tree) -> None:
        for name, seconds, inner in tree:
            with phase(name):
                clock.now += seconds
                walk(inner)
            clock.now += 1

    with running(clock=clock) as watch:
        walk(tree)
    assert watch.total == clock.now - started


def test_without_a_stopwatch_no_clock_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def never() -> Iterator[float]:
        raise AssertionError

    monkeypatch.setattr(time, "perf_counter", never)
    with phase("training"), phase("data"):
        assert timed("noise")(lambda value: value + 1)(1) == 2
    assert not stopwatch.is_running()


def test_an_inner_stopwatch_leaves_the_outer_one_as_it_was(clock: Clock) -> None:
    with running(clock=clock) as outer:
        with running(clock=itertools.count().__next__) as inner, phase("data"):
            pass
        with phase("noise"):
            clock.now += 1
    assert inner.by_phase()["data"] == 1.0
    assert outer.by_phase()["data"] == 0.0
    assert outer.by_phase()["noise"] == 1.0
