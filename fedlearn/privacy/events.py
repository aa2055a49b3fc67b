"""Privacy events: what was executed, as values that an accountant interprets.

An event says what happened and promises nothing; the object that executed it emits it, so that
what ran and what is charged cannot differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fedlearn._validate import in_range, non_negative
from fedlearn.errors import ConfigError


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
        in_range(0.0, 1.0, sample_rate=self.sample_rate)
        non_negative(log_ratio=self.log_ratio, distance=self.distance)
        if self.sample_rate == 0:
            raise ConfigError("sample_rate=0 releases nothing; it must lie in (0, 1]")
        if self.steps < 1:
            raise ConfigError(f"steps={self.steps} must be at least 1; emit no event where no step ran")

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


def event_from_dict(values: Mapping[str, Any]) -> SampledGaussianEvent:
    """Returns the event that ``SampledGaussianEvent.to_dict`` wrote.

    Raises:
      ConfigError: another kind, or a missing or unknown field.

    >>> event = SampledGaussianEvent(noise_multiplier=1.0, sample_rate=0.5, steps=3)
    >>> event_from_dict(event.to_dict()) == event
    True
    """
    fields = dict(values)
    kind = fields.pop("kind", None)
    if kind != "sampled-gaussian":
        raise ConfigError(f"event kind {kind!r} is not known; known: 'sampled-gaussian'")
    try:
        return SampledGaussianEvent(**fields)
    except TypeError as error:
        raise ConfigError(f"event {dict(values)} cannot be read: {error}") from error


def grouped(events: Iterable[SampledGaussianEvent]) -> tuple[SampledGaussianEvent, ...]:
    """Returns the same composition with events that differ in their steps alone merged, sorted.

    Composition does not depend on the order, so two histories with the same groups share one ε.

    >>> one = SampledGaussianEvent(noise_multiplier=1.0, sample_rate=0.1, steps=5)
    >>> [event.steps for event in grouped([one, one])]
    [10]
    """
    steps: Counter[SampledGaussianEvent] = Counter()
    for event in events:
        steps[replace(event, steps=1)] += event.steps
    return tuple(replace(event, steps=count) for event, count in sorted(steps.items()))
