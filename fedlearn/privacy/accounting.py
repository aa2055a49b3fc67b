"""From events to ε: composition by dp-accounting, cached, and its inverses.

The reported ε is the pessimistic estimate of the privacy loss distribution (PLD; Koskela et al. 2020,
Doroshenko et al. 2022) under add/remove neighbours; Gaussian releases without sampling compose in
closed form (Balle & Wang 2018, Theorem 8). Rényi DP (Mironov et al. 2019) is the cross-check.

>>> from fedlearn.privacy.events import SampledGaussianEvent
>>> ten_rounds = SampledGaussianEvent(noise_multiplier=1.0, sample_rate=1 / 19, steps=190)
>>> round(epsilon([ten_rounds], delta=1e-4), 2)
4.12
"""

from __future__ import annotations

import importlib.metadata
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from fedlearn._validate import between, positive
from fedlearn.errors import ConfigError, TargetUnreachable
from fedlearn.privacy.events import Event, SampledGaussianEvent, event_from_dict, grouped
from fedlearn.privacy.guarantee import format_epsilon

ACCOUNTANT = f"PLD (dp-accounting {importlib.metadata.version('dp-accounting')}, pessimistic)"
"""Name and version of the accountant, for guarantees and statements."""

MIN_NOISE_MULTIPLIER = 0.1
MAX_NOISE_MULTIPLIER = 1000.0
MAX_STEPS = 1_000_000

# Points of the discretised privacy loss per standard deviation of one step's loss, where the most
# points of one step allow it: ε then exceeds the exact value by less than 0.1 %, at 10 to 50 ms a
# composition. A coarser grid costs accuracy only; the estimate stays pessimistic.
_POINTS_PER_DEVIATION = 100
_MOST_POINTS = 50_000


def epsilon(events: Iterable[Event], *, delta: float) -> float:
    """Returns the smallest ε for which the composition of all events is shown to be (ε, δ)-DP.

    Args:
      events: everything that was released over the same data, in any order.
      delta: in (0, 1).

    Returns:
      ε ≥ 0; 0 if nothing was released; infinite if a release had no noise, or if ``delta`` is below
      what the discretised distribution can resolve (about 1e-14).
    """
    between(0.0, 1.0, delta=delta)
    return _reported(grouped(events), delta)


@lru_cache(maxsize=65536)
def _reported(events: tuple[Event, ...], delta: float) -> float:
    # A sum of integers is near to a Gaussian in each coordinate; over millions of coordinates what it is
    # off by adds up, and Rényi DP bounds it better. Both are bounds: the smaller one is reported.
    near = _near_gaussian(_epsilon, _as_gaussian(events), delta)
    if all(isinstance(event, SampledGaussianEvent) for event in events):
        return near
    return min(near, epsilon_rdp(events, delta=delta))


def epsilon_rdp(events: Iterable[Event], *, delta: float) -> float:
    """Returns ε by Rényi composition: an upper bound of its own, 5 to 40 % above that by PLD."""
    between(0.0, 1.0, delta=delta)
    parts = (event if isinstance(event, SampledGaussianEvent) else event.renyi_gaussian() for event in events)
    return _near_gaussian(_epsilon_rdp, _merged(parts), delta)


def calibrate_noise(
    *,
    epsilon: float,
    delta: float,
    sample_rate: float,
    steps: int,
    max_noise_multiplier: float = MAX_NOISE_MULTIPLIER,
) -> float:
    """Returns the smallest noise multiplier whose ε is at most ``epsilon``, rounded up to 4 digits.

    Never less than 0.1, below which noise protects nobody.

    Raises:
      TargetUnreachable: even ``max_noise_multiplier`` spends more; says what it would spend.

    >>> calibrate_noise(epsilon=2.0, delta=1e-4, sample_rate=1 / 19, steps=95)
    1.225
    """
    positive(epsilon=epsilon)

    def spent(noise_multiplier: float) -> float:
        return _spent(noise_multiplier, sample_rate, steps, delta)

    if spent(max_noise_multiplier) > epsilon:
        raise TargetUnreachable(
            f"epsilon={epsilon:g} at delta={delta:g} is out of reach of {steps} steps at sample_rate="
            f"{sample_rate:.4g}: noise_multiplier={max_noise_multiplier:g} still spends"
            f" {format_epsilon(spent(max_noise_multiplier))}."
            " Take fewer steps, a smaller batch or a larger epsilon"
        )
    return _smallest(lambda noise: spent(noise) <= epsilon, MIN_NOISE_MULTIPLIER, 1.0, max_noise_multiplier)


def calibrate_composition(
    events: Callable[[float], Iterable[Event]], *, epsilon: float, delta: float
) -> float:
    """Returns the smallest noise multiplier whose ``events`` together spend at most ``epsilon``, rounded up.

    For what is more than one mechanism repeated: training after a release of statistics, noise that is
    nearly Gaussian.

    Args:
      events: noise multiplier → everything that is released; the more noise, the less spent.
      epsilon: ε > 0.
      delta: δ in (0, 1).

    Raises:
      TargetUnreachable: no noise suffices; says what the most of it would spend.

    >>> statistics = SampledGaussianEvent(noise_multiplier=6.0, sample_rate=1.0, steps=1)
    >>> def both(noise_multiplier):
    ...     return statistics, SampledGaussianEvent(
    ...         noise_multiplier=noise_multiplier, sample_rate=1.0, steps=30)
    >>> calibrate_composition(both, epsilon=1.0, delta=1e-3)
    15.62
    """
    positive(epsilon=epsilon)
    between(0.0, 1.0, delta=delta)

    def spent(noise_multiplier: float) -> float:
        return _reported(grouped(events(noise_multiplier)), delta)

    least = spent(MAX_NOISE_MULTIPLIER)
    if least > epsilon:
        raise TargetUnreachable(
            f"epsilon={epsilon:g} at delta={delta:g} is out of reach: with noise_multiplier="
            f"{MAX_NOISE_MULTIPLIER:g} all releases together still spend {format_epsilon(least)}."
            " Take fewer rounds, spend less on statistics, or raise epsilon"
        )
    return _smallest(lambda noise: spent(noise) <= epsilon, MIN_NOISE_MULTIPLIER, 10.0, MAX_NOISE_MULTIPLIER)


def calibrate_steps(*, epsilon: float, delta: float, sample_rate: float, noise_multiplier: float) -> int:
    """Returns the greatest number of steps whose ε is at most ``epsilon``, up to a million.

    Raises:
      TargetUnreachable: one step spends more; says how much, and what noise would allow one.
    """
    positive(epsilon=epsilon)

    def fits(steps: int) -> bool:
        return _spent(noise_multiplier, sample_rate, steps, delta) <= epsilon

    if not fits(1):
        one = format_epsilon(_spent(noise_multiplier, sample_rate, 1, delta))
        raise TargetUnreachable(
            f"epsilon={epsilon:g} at delta={delta:g} allows no step: one at"
            f" noise_multiplier={noise_multiplier:g}, sample_rate={sample_rate:.4g} spends {one}."
            " Raise noise_multiplier or epsilon"
        )
    low, high = 1, 2
    while fits(high):
        if high >= MAX_STEPS:
            return MAX_STEPS
        low, high = high, min(2 * high, MAX_STEPS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def calibrate_sample_rate(*, epsilon: float, delta: float, noise_multiplier: float, steps: int) -> float:
    """Returns the greatest sample rate, rounded down to 4 significant digits, whose ε is at most ``epsilon``.

    Raises:
      TargetUnreachable: no rate from 1e-6 upwards fits; says what that one would spend.
    """
    positive(epsilon=epsilon)
    lowest = 1e-6

    def fits(rate: float) -> bool:
        return _spent(noise_multiplier, rate, steps, delta) <= epsilon

    if not fits(lowest):
        least = format_epsilon(_spent(noise_multiplier, lowest, steps, delta))
        raise TargetUnreachable(
            f"epsilon={epsilon:g} at delta={delta:g} is out of reach of {steps} steps at noise_multiplier="
            f"{noise_multiplier:g}: sample_rate={lowest:g} still spends {least}. Raise noise_multiplier"
        )
    if fits(1.0):
        return 1.0
    above = _smallest(lambda rate: not fits(rate), lowest, 0.01, 1.0)
    return _grid_value(_grid_index(above) - 1)


class Account:
    """What one client has spent on one data set: the events that were executed, and their ε.

    Equal histories share one cached ε, so asking every client after every round costs one
    composition per distinct (noise multiplier, sample rate, steps).

    >>> account = Account()
    >>> account.charge(SampledGaussianEvent(noise_multiplier=1.0, sample_rate=1 / 19, steps=19))
    >>> account.charge(SampledGaussianEvent(noise_multiplier=1.0, sample_rate=1 / 19, steps=171))
    >>> round(account.epsilon(delta=1e-4), 2), account.steps
    (4.12, 190)
    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._events = grouped(events)

    @property
    def events(self) -> tuple[Event, ...]:
        """What was charged so far, grouped and sorted."""
        return self._events

    @property
    def steps(self) -> int:
        """How many releases were charged so far."""
        return sum(event.steps for event in self._events)

    def charge(self, event: Event) -> None:
        """Records an event that was executed."""
        self._events = grouped((*self._events, event))

    def epsilon(self, *, delta: float) -> float:
        """Returns the ε of everything charged so far."""
        return epsilon(self._events, delta=delta)

    def projected_epsilon(self, event: Event, *, delta: float) -> float:
        """Returns the ε as it would be after ``event``, without charging it."""
        return epsilon((*self._events, event), delta=delta)

    def to_dict(self) -> dict[str, Any]:
        """Returns the account as JSON-able values; ``from_dict`` reads it back."""
        return {"schema": 1, "events": [event.to_dict() for event in self._events]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Account:
        """Returns the account that ``to_dict`` wrote.

        Raises:
          ConfigError: another schema, or events that cannot be read.
        """
        if values.get("schema") != 1 or not isinstance(values.get("events"), list):
            raise ConfigError(f"account schema {values.get('schema')!r} is not known; known: 1")
        return cls(event_from_dict(event) for event in values["events"])


def _spent(noise_multiplier: float, sample_rate: float, steps: int, delta: float) -> float:
    event = SampledGaussianEvent(noise_multiplier=noise_multiplier, sample_rate=sample_rate, steps=steps)
    return epsilon([event], delta=delta)


def _merged(events: Iterable[SampledGaussianEvent]) -> tuple[SampledGaussianEvent, ...]:
    return tuple(event for event in grouped(events) if isinstance(event, SampledGaussianEvent))


def _as_gaussian(events: Iterable[Event]) -> tuple[SampledGaussianEvent, ...]:
    """Returns the Gaussian releases that the events are, or are near to."""
    return _merged(
        event if isinstance(event, SampledGaussianEvent) else event.near_gaussian() for event in events
    )


def _near_gaussian(
    gaussian: Callable[[tuple[SampledGaussianEvent, ...], float], float],
    events: tuple[SampledGaussianEvent, ...],
    delta: float,
) -> float:
    """Returns the ε of releases near to Gaussian ones, whose own ε at δ is ``gaussian(events, δ)``.

    Let the Gaussian ones be (ε, δ)-DP, the odds of all releases within a factor e^λ of theirs, both ways
    together, but for a statistical distance η. Then the releases are (ε + λ, e^λ·δ + (1 + e^(ε + λ))·η)-DP.
    Both λ and η add up over adaptive releases.
    """
    exact = _merged(replace(event, log_ratio=0.0, distance=0.0) for event in events)

    def spent(left: float) -> float:
        return gaussian(exact, left)

    log_ratio = sum(event.steps * event.log_ratio for event in events)
    distance = sum(event.steps * event.distance for event in events)
    reached = spent(delta)
    while log_ratio + distance > 0 and math.isfinite(reached):
        left = math.exp(-log_ratio) * (delta - (1.0 + math.exp(min(reached, 700.0))) * distance)
        needed = spent(left) + log_ratio if left > 0 else math.inf
        if needed <= reached:
            break
        # A step beyond what is needed: the loop ends, and errs to the safe side.
        reached = needed * (1.0 + 1e-6) + 1e-12
    return reached


@lru_cache(maxsize=65536)
def _epsilon(events: tuple[SampledGaussianEvent, ...], delta: float) -> float:
    if any(event.noise_multiplier == 0 for event in events):
        return math.inf
    whole = _gaussian_deviation(events)
    sampled = tuple(event for event in events if event.sample_rate < 1)
    if not sampled:
        return _epsilon_gaussian(whole, delta)
    return float(_loss_distribution(sampled, whole).get_epsilon_for_delta(delta))


@lru_cache(maxsize=256)
def _loss_distribution(sampled: tuple[SampledGaussianEvent, ...], whole: float) -> Any:
    """Returns the privacy loss of the sampled events and one Gaussian of stddev ``whole`` together."""
    interval = _interval(sampled, whole)
    total = _composed(sampled[0], interval)
    for event in sampled[1:]:
        total = total.compose(_composed(event, interval))
    if math.isfinite(whole):
        total = total.compose(_one_step(whole, 1.0, interval))
    return total


def _gaussian_deviation(events: Iterable[SampledGaussianEvent]) -> float:
    """Returns the stddev of the one Gaussian release that all unsampled ones compose to."""
    precision = sum(event.steps / event.noise_multiplier**2 for event in events if event.sample_rate == 1)
    return math.inf if precision == 0 else precision**-0.5


def _epsilon_gaussian(noise_multiplier: float, delta: float) -> float:
    from dp_accounting import get_epsilon_gaussian

    return 0.0 if math.isinf(noise_multiplier) else float(get_epsilon_gaussian(noise_multiplier, delta))


def _interval(sampled: Sequence[SampledGaussianEvent], whole: float) -> float:
    """Returns the grid of the privacy loss: fine for its spread, coarse enough for its range."""
    steps = sum(event.steps for event in sampled)
    square = sum(event.steps * _loss_deviation(event) ** 2 for event in sampled) + (1 / whole) ** 2
    fine = math.sqrt(square / steps) / _POINTS_PER_DEVIATION
    return max(fine, *(_largest_loss(event) / _MOST_POINTS for event in sampled))


def _largest_loss(event: SampledGaussianEvent) -> float:
    """Returns the privacy loss of one step that is exceeded at ten standard deviations only."""
    inverse = 1 / event.noise_multiplier
    return float(
        np.logaddexp(
            math.log1p(-event.sample_rate), math.log(event.sample_rate) + inverse * (10 + inverse / 2)
        )
    )


def _loss_deviation(event: SampledGaussianEvent) -> float:
    """Returns about the standard deviation of one step's privacy loss: q √(e^(1/σ²) − 1), at most 1/σ."""
    inverse = 1 / event.noise_multiplier
    chi = math.sqrt(math.expm1(min(inverse**2, 700.0)))
    return min(event.sample_rate * chi, inverse)


@lru_cache(maxsize=256)
def _one_step(noise_multiplier: float, sample_rate: float, interval: float) -> Any:
    from dp_accounting.pld import privacy_loss_distribution

    return privacy_loss_distribution.from_gaussian_mechanism(
        noise_multiplier,
        pessimistic_estimate=True,
        value_discretization_interval=interval,
        sampling_prob=sample_rate,
    )


def _composed(event: SampledGaussianEvent, interval: float) -> Any:
    return _one_step(event.noise_multiplier, event.sample_rate, interval).self_compose(event.steps)


@lru_cache(maxsize=4096)
def _epsilon_rdp(events: tuple[SampledGaussianEvent, ...], delta: float) -> float:
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
    from dp_accounting.rdp import RdpAccountant

    if not events:
        return 0.0
    accountant = RdpAccountant()
    with _quiet_about_dropped_orders():
        for event in events:
            gaussian = GaussianDpEvent(event.noise_multiplier)
            step = PoissonSampledDpEvent(event.sample_rate, gaussian) if event.sample_rate < 1 else gaussian
            accountant.compose(SelfComposedDpEvent(step, event.steps))
        return float(accountant.get_epsilon(delta))


@contextmanager
def _quiet_about_dropped_orders() -> Iterator[None]:
    """Hides the warning that an order did not converge: it is left out, and the bound stays one."""
    logger = logging.getLogger("absl")

    def keep(record: logging.LogRecord) -> bool:
        return "Excluding this order" not in record.getMessage()

    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)


# The four-digit grid: 1.000, 1.001, …, 9.999, 10.00, … numbered by integers, so that a bisection
# ends on a value that prints exactly.
def _grid_value(index: int) -> float:
    exponent, digits = divmod(index, 9000)
    return float(f"{digits + 1000}e{exponent - 3}")


def _grid_index(value: float) -> int:
    """Returns the index of the smallest grid value that is at least ``value``."""
    exponent = math.floor(math.log10(value))
    index = exponent * 9000 + round(value * 10.0 ** (3 - exponent)) - 1000
    return index if _grid_value(index) >= value else index + 1


def _smallest(holds: Callable[[float], bool], low: float, start: float, high: float) -> float:
    """Returns the smallest grid value in [low, high] for which the monotone ``holds`` is true, or high.

    Searches outwards from ``start`` by doubling, as the ends are the values that cost most to account.
    """
    first, last = _grid_index(low), _grid_index(high)
    below = above = min(max(_grid_index(start), first), last)
    stride = 2000
    while below > first and holds(_grid_value(below)):
        above, below = below, max(first, below - stride)
    if below == first and holds(_grid_value(first)):
        return _grid_value(first)
    while above < last and (above == below or not holds(_grid_value(above))):
        below, above = above, min(last, above + stride)
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (below, middle) if holds(_grid_value(middle)) else (middle, above)
    return _grid_value(above)
