"""One release about to be made, and what the rows of a ledger say of those that were."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from fedlearn.errors import PrivacyError
from fedlearn.privacy.account import Account
from fedlearn.privacy.chain import Row
from fedlearn.privacy.events import Event, SampledGaussianEvent, event_from_dict
from fedlearn.privacy.guarantee import Unit
from fedlearn.privacy.store import reading, rows_of

State: TypeAlias = Literal["reserved", "committed", "burned", "refunded"]


@dataclass(frozen=True, kw_only=True)
class Release:
    """One release about to be made: what it is called and what it costs.

    Attributes:
      id: unique name of the release; what is trained again is another release.
      run: run it belongs to.
      round: round, counted from 0.
      dataset: the site's own name of the data; never a fingerprint of their content.
      unit: what the events protect.
      clip_norm: C, bound of one unit's contribution.
      events: the mechanisms about to be executed, at least one.
      request: digest of the request that it answers, hex; the same request gets the same bytes again.
    """

    id: str
    run: str
    round: int
    dataset: str
    unit: Unit = "record"
    clip_norm: float
    events: tuple[Event, ...]
    request: str = ""

    def __post_init__(self) -> None:
        if not self.events:
            raise PrivacyError(f"release {self.id!r} has no event: what is it charged as?")

    def to_dict(self) -> dict[str, Any]:
        """Returns the release as JSON-able values."""
        values = dataclasses.asdict(self)
        values["release"] = values.pop("id")
        values["events"] = [event.to_dict() for event in self.events]
        return values

    def counted(self, *, per: Unit) -> tuple[Event, ...]:
        """Returns what the release spends per ``per``, whatever it protects."""
        return tuple(counted(event, unit=self.unit, per=per) for event in self.events)


def counted(event: Event, *, unit: Unit, per: Unit) -> Event:
    """Returns what is spent per ``per`` where ``event`` is charged per ``unit``.

    A client's contribution has norm at most C; with one record more or less it is another one of norm at
    most C. So what hides a client hides each of its records at half the noise multiplier; nothing is claimed
    of cohorts that were drawn. What hides records does not bound what is told of a client that has many:
    it counts as a release without noise.

    >>> hidden = SampledGaussianEvent(noise_multiplier=8.0, sample_rate=1.0, steps=10)
    >>> counted(hidden, unit="client", per="record").noise_multiplier
    4.0
    """
    if unit == per:
        return event
    if per == "record":
        return dataclasses.replace(event, noise_multiplier=event.noise_multiplier / 2.0, sample_rate=1.0)
    return SampledGaussianEvent(noise_multiplier=0.0, sample_rate=1.0, steps=event.steps)


def read(path: Path) -> list[Row]:
    """Returns all rows of a ledger, without changing or locking it; the chain is not checked.

    Raises:
      LedgerUnavailable: the file is missing or is no ledger.
    """
    with reading(path) as connection:
        return list(rows_of(connection))


def latest(rows: Iterable[Row]) -> dict[str, dict[str, Any]]:
    """Returns the content of the newest row about each release."""
    contents = (row.values for row in rows)
    return {values["release"]: values for values in contents if "release" in values}


def spent(
    releases: Iterable[Mapping[str, Any]], dataset: str, *, unit: Unit = "record", run: str | None = None
) -> Account:
    """Returns the account of one data set from the newest content of each release: all not refunded.

    Releases that protect the other unit are counted in this one.
    """
    return Account(
        counted(event_from_dict(event), unit=release["unit"], per=unit)
        for release in releases
        if release["dataset"] == dataset and run in (None, release["run"]) and release["state"] != "refunded"
        for event in release["events"]
    )
