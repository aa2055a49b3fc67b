"""Privacy events: what was executed, as values that an accountant interprets.

An event says what happened and promises nothing; the object that executed it emits it, so that
what ran and what is charged cannot differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, astuple, dataclass, replace
from typing import Any, TypeAlias

from fedlearn._validate import in_range, non_negative, positive
from fedlearn.errors import ConfigError
from fedlearn.privacy import discrete_sums


@dataclass(frozen=True, kw_only=True, order=True)
class SampledGaussianEvent:
    """``steps`` Gaussian releases, each over a fresh Poisson sample.

    Every unit enters each step independently with probability ``sample_rate``; the sum of
    contributions of norm at most C is released with N(0, (noise_multiplier · C)²) in each coordinate.

    Attributes:
      noise_multiplier: stddev / C; at least 0, and 0 costs an infinite ε.
      sample_rate: probability in (0, 1]; 1 means that no sampling is claimed.
      steps: number of releases, empty samples included; at least 1.
      log_ratio: where the noise is only nearly Gaussian, as a sum of discrete Gaussians is: bound on the
        logarithm of the ratio of a release's odds to a Gaussian's, both ways; charged to ε.
      distance: statistical distance that this bound leaves out; charged to δ.

    Raises:
      ConfigError: a value out of range.
    """

    noise_multiplier: float
    sample_rate: float
    steps: int
    log_ratio: float = 0.0
    distance: float = 0.0

    def __post_init__(self) -> None:
        non_negative(noise_multiplier=self.noise_multiplier)
        non_negative(log_ratio=self.log_ratio, distance=self.distance)
        _check_released(self.sample_rate, self.steps)

    def to_dict(self) -> dict[str, Any]:
        """Returns the event as JSON-able values; ``event_from_dict`` reads it back."""
        values: dict[str, Any] = {
            "kind": "sampled-gaussian",
            "noise_multiplier": self.noise_multiplier,
            "sample_rate": self.sample_rate,
            "steps": self.steps,
        }
        if self.log_ratio or self.distance:
            values |= {"log_ratio": self.log_ratio, "distance": self.distance}
        return values


@dataclass(frozen=True, kw_only=True, order=True)
class DiscreteGaussianSumEvent:
    """``steps`` releases of a sum of integer vectors under discrete Gaussians of several clients.

    Each unit's integers have L2 norm at most Δ; every client adds a discrete Gaussian of its own in each
    coordinate, and those of ``parts`` clients, which nobody else knows, have stddev
    ``noise_multiplier`` · Δ together.

    Attributes:
      noise_multiplier: σ, stddev of these parts together over Δ; greater than 0.
      dimension: number of coordinates.
      part_stddev: stddev of one client's part, in integer steps.
      parts: fewest clients whose parts protect a unit.
      sample_rate: probability in (0, 1] with which a unit enters a release; 1 claims no sampling.
      steps: number of releases; at least 1.

    Raises:
      ConfigError: a value out of range.
    """

    noise_multiplier: float
    dimension: int
    part_stddev: float
    parts: int
    sample_rate: float = 1.0
    steps: int = 1

    def __post_init__(self) -> None:
        positive(noise_multiplier=self.noise_multiplier, part_stddev=self.part_stddev)
        positive(dimension=self.dimension, parts=self.parts)
        _check_released(self.sample_rate, self.steps)

    def near_gaussian(self) -> SampledGaussianEvent:
        """Returns the Gaussian releases that these are near to, with what they are off by."""
        return SampledGaussianEvent(
            noise_multiplier=self.noise_multiplier,
            sample_rate=self.sample_rate,
            steps=self.steps,
            log_ratio=discrete_sums.log_ratio(
                part_stddev=self.part_stddev, parts=self.parts, dimension=self.dimension
            ),
            distance=discrete_sums.distance(parts=self.parts, dimension=self.dimension),
        )

    def renyi_gaussian(self) -> SampledGaussianEvent:
        """Returns Gaussian releases with at least the Rényi divergences of these: for Rényi DP alone.

        By the concentrated DP of the sum. That says nothing of samples; sampled releases are those of
        :meth:`near_gaussian`.
        """
        if self.sample_rate < 1:
            return self.near_gaussian()
        epsilon = discrete_sums.concentrated(
            noise_multiplier=self.noise_multiplier,
            part_stddev=self.part_stddev,
            parts=self.parts,
            dimension=self.dimension,
        )
        return SampledGaussianEvent(
            noise_multiplier=1.0 / epsilon,
            sample_rate=1.0,
            steps=self.steps,
            distance=discrete_sums.distance(parts=self.parts, dimension=self.dimension),
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns the event as JSON-able values; ``event_from_dict`` reads it back."""
        return {"kind": "discrete-gaussian-sum", **asdict(self)}


Event: TypeAlias = SampledGaussianEvent | DiscreteGaussianSumEvent
"""What an account is charged with."""

_KINDS: Mapping[str, type[SampledGaussianEvent] | type[DiscreteGaussianSumEvent]] = {
    "sampled-gaussian": SampledGaussianEvent,
    "discrete-gaussian-sum": DiscreteGaussianSumEvent,
}


def event_from_dict(values: Mapping[str, Any]) -> Event:
    """Returns the event that its ``to_dict`` wrote.

    Raises:
      ConfigError: another kind, or a missing or unknown field.

    >>> event = SampledGaussianEvent(noise_multiplier=1.0, sample_rate=0.5, steps=3)
    >>> event_from_dict(event.to_dict()) == event
    True
    """
    fields = dict(values)
    kind = fields.pop("kind", None)
    if kind not in _KINDS:
        raise ConfigError(f"event kind {kind!r} is not known; known: {', '.join(map(repr, _KINDS))}")
    try:
        return _KINDS[kind](**fields)
    except TypeError as error:
        raise ConfigError(f"event {dict(values)} cannot be read: {error}") from error


def grouped(events: Iterable[Event]) -> tuple[Event, ...]:
    """Returns the same composition with events that differ in their steps alone merged, sorted.

    Composition does not depend on the order, so two histories with the same groups share one ε.

    >>> one = SampledGaussianEvent(noise_multiplier=1.0, sample_rate=0.1, steps=5)
    >>> [event.steps for event in grouped([one, one])]
    [10]
    """
    steps: Counter[Event] = Counter()
    for event in events:
        steps[replace(event, steps=1)] += event.steps
    merged = [replace(event, steps=count) for event, count in steps.items()]
    return tuple(sorted(merged, key=lambda event: (type(event).__name__, *astuple(event))))


def _check_released(sample_rate: float, steps: int) -> None:
    in_range(0.0, 1.0, sample_rate=sample_rate)
    if sample_rate == 0:
        raise ConfigError("sample_rate=0 releases nothing; it must lie in (0, 1]")
    if steps < 1:
        raise ConfigError(f"steps={steps} must be at least 1; emit no event where no step ran")
