"""The inverses of the accountant: the noise, the steps or the sample rate that an ε allows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

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

    def spent(noise_multiplier: float) -> float:
        return accounting.epsilon(events(noise_multiplier), delta=delta)

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
