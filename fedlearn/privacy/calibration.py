"""The inverses of the accountant: the noise, the steps or the sample rate that an ε allows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from operator import gt, le

from fedlearn._validate import positive
from fedlearn.errors import TargetUnreachable
from fedlearn.privacy import accounting
from fedlearn.privacy.events import Event, SampledGaussianEvent
from fedlearn.privacy.guarantee import format_epsilon

MIN_NOISE_MULTIPLIER = 0.1
MAX_NOISE_MULTIPLIER = 1000.0
MAX_STEPS = 1_000_000


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

    found = _smallest(spent, le, epsilon, low=MIN_NOISE_MULTIPLIER, start=1.0, high=max_noise_multiplier)
    if found >= max_noise_multiplier and spent(max_noise_multiplier) > epsilon:
        raise TargetUnreachable(
            f"epsilon={epsilon:g} at delta={delta:g} is out of reach of {steps} steps at sample_rate="
            f"{sample_rate:.4g}: noise_multiplier={max_noise_multiplier:g} still spends"
            f" {format_epsilon(spent(max_noise_multiplier))}."
            " Take fewer steps, a smaller batch or a larger epsilon"
        )
    return found


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

    def spent(noise_multiplier: float) -> float:
        return accounting.epsilon(events(noise_multiplier), delta=delta)

    found = _smallest(spent, le, epsilon, low=MIN_NOISE_MULTIPLIER, start=10.0, high=MAX_NOISE_MULTIPLIER)
    if found == MAX_NOISE_MULTIPLIER and (least := spent(found)) > epsilon:
        raise TargetUnreachable(
            f"epsilon={epsilon:g} at delta={delta:g} is out of reach: with noise_multiplier="
            f"{MAX_NOISE_MULTIPLIER:g} all releases together still spend {format_epsilon(least)}."
            " Take fewer rounds, spend less on statistics, or raise epsilon"
        )
    return found


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

    def spent(rate: float) -> float:
        return _spent(noise_multiplier, rate, steps, delta)

    if spent(lowest) > epsilon:
        least = format_epsilon(spent(lowest))
        raise TargetUnreachable(
            f"epsilon={epsilon:g} at delta={delta:g} is out of reach of {steps} steps at noise_multiplier="
            f"{noise_multiplier:g}: sample_rate={lowest:g} still spends {least}. Raise noise_multiplier"
        )
    if spent(1.0) <= epsilon:
        return 1.0
    above = _smallest(spent, gt, epsilon, low=lowest, start=0.01, high=1.0)
    return _grid_value(_grid_index(above) - 1)


def _spent(noise_multiplier: float, sample_rate: float, steps: int, delta: float) -> float:
    event = SampledGaussianEvent(noise_multiplier=noise_multiplier, sample_rate=sample_rate, steps=steps)
    return accounting.epsilon([event], delta=delta)


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


def _smallest(
    spent: Callable[[float], float],
    holds: Callable[[float, float], bool],
    target: float,
    *,
    low: float,
    start: float,
    high: float,
) -> float:
    """Returns the smallest grid value in [low, high] with ``holds(spent(value), target)``, or high.

    Of values in order, those that hold come last. Searches outwards from ``start``, as the ends are the
    values that cost most to account, and then along ln ε, which is nearly straight in the logarithm of noise
    and of rates: about half of the accounting that halving would ask for.
    """
    first, last = _grid_index(low), _grid_index(high)
    found: dict[int, float] = {}

    def true_at(index: int) -> bool:
        if index not in found:
            found[index] = spent(_grid_value(index))
        return holds(found[index], target)

    below = above = min(max(_grid_index(start), first), last)
    stride = 2000
    while below > first and true_at(below):
        above, below, stride = below, max(first, below - stride), 2 * stride
    if below == first and true_at(first):
        return _grid_value(first)
    while above < last and (above == below or not true_at(above)):
        below, above, stride = above, min(last, above + stride), 2 * stride
    straight = 8  # lines that may be followed; halving ends the search on any curve
    while above - below > 1:
        middle = _on_line(below, above, found, target) if straight > 0 else (below + above) // 2
        below, above = (below, middle) if true_at(middle) else (middle, above)
        straight -= 1
    return _grid_value(above)


def _on_line(below: int, above: int, found: Mapping[int, float], target: float) -> int:
    """Returns the index inside (below, above) where a line through ln ε at both meets the target's."""
    ends = found[below], found.get(above, math.inf)
    if min(ends) <= 0 or max(ends) == math.inf or ends[0] == ends[1]:
        return (below + above) // 2
    share = math.log(target / ends[0]) / math.log(ends[1] / ends[0])
    value = _grid_value(below) ** (1.0 - share) * _grid_value(above) ** share
    return min(max(_grid_index(value), below + 1), above - 1)
