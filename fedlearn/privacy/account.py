"""What one client has spent on one data set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fedlearn.errors import ConfigError
from fedlearn.privacy.accounting import epsilon
from fedlearn.privacy.events import Event, event_from_dict, grouped


class Account:
    """What one client has spent on one data set: the events that were executed, and their ε.

    Equal histories share one cached ε, so asking every client after every round costs one
    composition per distinct (noise multiplier, sample rate, steps).

    >>> from fedlearn.privacy.events import SampledGaussianEvent
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
