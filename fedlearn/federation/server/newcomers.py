"""Sites that were not there when a run began, and are now."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from fedlearn.federation.server.agreement import Agreement

TRIES = 3


class SitesCame(Exception):
    """Sites are connected that are not in the terms of the run: time for another attempt."""


@dataclass(frozen=True, kw_only=True)
class Newcomers:
    """Who may yet join a run.

    Attributes:
      members: sites of the roster.
      connected: returns the sites that are connected now.
    """

    members: Collection[str]
    connected: Callable[[], Collection[str]]
    _tries: dict[str, int] = field(default_factory=dict)

    def waiting(self, sites: Collection[str]) -> tuple[str, ...]:
        """Returns the sites that are connected, are not among ``sites``, and have not declined."""
        strange = set(self.members) & set(self.connected()) - set(sites)
        return tuple(sorted(site for site in strange if self._tries.get(site, 0) < TRIES))

    def invite(self, agreement: Agreement) -> None:
        """Asks each of them to join; who refuses is not asked again, who is silent twice more."""
        for site in self.waiting(agreement.kept().sizes):
            answer = agreement.invite(site)
            self._tries[site] = TRIES if answer is False else self._tries.get(site, 0) + 1
