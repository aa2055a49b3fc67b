"""Where the time of a process goes: in one phase at a time.

A process has one stopwatch at most. Without one, which is the rule, a timed function costs one
look at a module's variable.

>>> ticks = iter([0.0, 1.0, 4.0, 4.5])
>>> with running(clock=lambda: next(ticks)) as watch:
...     with phase("training"):
...         pass
>>> watch.by_phase()["training"], watch.total
(3.0, 4.5)
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, MutableSequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final, Literal, ParamSpec, TypeVar, get_args

Phase = Literal[
    "data", "training", "clipping", "noise", "masking", "aggregation", "evaluation", "waiting", "other"
]
"""``training``: forward and backward passes and steps; ``masking``: all of secure aggregation, encoding
included; ``waiting``: for another process; ``other``: what no phase claims, as messages and set-up."""

PHASES: Final[tuple[Phase, ...]] = get_args(Phase)

P = ParamSpec("P")
R = TypeVar("R")

_OTHER: Final = PHASES.index("other")
_NOTHING: Final = nullcontext()


class Stopwatch:
    """Counts the seconds of each phase; a phase inside another one interrupts it.

    Guarantee: between two changes of the phase every second is counted once, so that the phases add up to
    the time from the start to the last change.

    Args:
      seconds: where to count, one place per phase, zeros; None: a list of its own.
      clock: seconds since any moment.
    """

    def __init__(
        self, seconds: MutableSequence[float] | None = None, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._seconds = [0.0] * len(PHASES) if seconds is None else seconds
        self._clock = clock
        self._phase = _OTHER
        self._since = clock()

    def by_phase(self) -> dict[Phase, float]:
        """Returns the seconds of each phase."""
        return dict(zip(PHASES, self._seconds, strict=True))

    @property
    def total(self) -> float:
        """Seconds of all phases."""
        return float(sum(self._seconds))

    @contextmanager
    def during(self, phase: int) -> Iterator[None]:
        """Counts for a phase, by its place in ``PHASES``, and then for the one that it has interrupted."""
        interrupted = self._phase
        self.turn_to(phase)
        try:
            yield
        finally:
            self.turn_to(interrupted)

    def turn_to(self, phase: int = _OTHER) -> None:
        """Counts for a phase from now on."""
        now = self._clock()
        self._seconds[self._phase] += now - self._since
        self._phase, self._since = phase, now


_watch: Stopwatch | None = None


@contextmanager
def running(
    seconds: MutableSequence[float] | None = None, *, clock: Callable[[], float] = time.perf_counter
) -> Iterator[Stopwatch]:
    """Makes the stopwatch of this process, for the time of the context."""
    global _watch  # noqa: PLW0603  # a process has one, as it has one clock
    before, watch = _watch, Stopwatch(seconds, clock=clock)
    _watch = watch
    try:
        yield watch
    finally:
        watch.turn_to()
        _watch = before


def is_running() -> bool:
    """Returns whether this process has a stopwatch."""
    return _watch is not None


def phase(name: Phase) -> AbstractContextManager[None]:
    """Returns the context of a phase; it does nothing without a stopwatch."""
    return _NOTHING if _watch is None else _watch.during(PHASES.index(name))


def timed(name: Phase) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Returns a decorator that counts a function's time for a phase; not for generators."""
    place = PHASES.index(name)

    def decorated(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def counted(*args: P.args, **kwargs: P.kwargs) -> R:
            if _watch is None:
                return function(*args, **kwargs)
            with _watch.during(place):
                return function(*args, **kwargs)

        return counted

    return decorated
