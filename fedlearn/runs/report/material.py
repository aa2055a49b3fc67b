"""What a report is made of: everything that a run directory tells."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from fedlearn.runs.attack_report import Table, load_attacks
from fedlearn.runs.holdings import Holdings
from fedlearn.runs.profile import Profile
from fedlearn.runs.report import view
from fedlearn.runs.result import Result

if TYPE_CHECKING:
    from fedlearn.runs.directory import RunDirectory


@dataclass(frozen=True, kw_only=True)
class Material:
    """One run, as far as it is known; a section that finds nothing of its own leaves itself out.

    Attributes:
      result: what the run gave; baselines, privacy, metrics and spreads may be missing.
      rounds: every round, in order.
      experiment: text of the resolved ``experiment.toml``; None if it is not known.
      attacks: what adversaries got under each protection; empty if nobody tried.
      holdings: who holds what; None at sites, and where it was not written.
      profile: where the time went; None unless it was asked for.
    """

    result: Result
    rounds: view.Rounds = ()
    experiment: str | None = None
    attacks: Table = field(default_factory=dict)
    holdings: Holdings | None = None
    profile: Profile | None = None

    @classmethod
    def read(cls, directory: RunDirectory, result: Result) -> Self:
        """Returns the material in a run directory, for a result that need not be written yet.

        Raises:
          RunDirectoryError: a file of the run is missing or is not what a run writes.
        """
        return cls(
            result=result,
            rounds=view.rounds_of(directory.rounds()),
            experiment=directory.experiment(),
            attacks=load_attacks(directory.path),
            holdings=Holdings.load(directory.path),
            profile=Profile.load(directory.path),
        )

    @cached_property
    def names(self) -> list[str]:
        """Every metric, the experiment's first one first."""
        return view.metric_names(self.result)

    @property
    def headline(self) -> str | None:
        """The metric that stands for the run; None if nothing was measured."""
        return next(iter(self.names), None)

    @cached_property
    def on_scale(self) -> frozenset[str]:
        """The metrics whose values lie on a scale from 0, bad, to 1, good."""
        return frozenset(name for name in self.names if view.fits_unit_scale(name, self.result))

    @cached_property
    def clients(self) -> int | None:
        """Number of clients, as far as it is known."""
        if self.holdings is not None:
            return self.holdings.of
        return view.client_count(self.result, self.rounds)

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """The experiment as tables; empty if it is not known or not TOML."""
        try:
            return tomllib.loads(self.experiment or "")
        except tomllib.TOMLDecodeError:
            return {}
