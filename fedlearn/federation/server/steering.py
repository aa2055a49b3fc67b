"""What happens between two rounds: it is told, waited for sites, and stopped if asked."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from fedlearn.errors import RunError, RunInterrupted
from fedlearn.federation.conduct import LoggedProgress
from fedlearn.federation.server import queue
from fedlearn.federation.server.attendance import Attendance
from fedlearn.federation.server.newcomers import Newcomers, SitesCame
from fedlearn.runs.progress import RoundReport

ADVICE = (
    "a round was cut off after sites had given a masked update for this model; without differential privacy"
    " a second sum over almost the same sites would give one of them away, so they refuse it. Train with"
    " privacy, or let every site's policy and the experiment say redo_without_dp = true; the last checkpoint"
    " is kept"
)


@dataclass(kw_only=True)
class Steering(LoggedProgress):
    """A progress that also steers: what it raises ends the run between two rounds.

    Attributes:
      attendance: knows who is connected.
      sites: of the run.
      least: sites that a round needs.
      newcomers: who may yet join.
    """

    attendance: Attendance
    sites: Collection[str]
    least: int
    newcomers: Newcomers

    def round_done(self, report: RoundReport) -> None:
        """Tells of a round, and waits if it failed for want of sites.

        Raises:
          RunInterrupted: the operator asked to stop.
          RunError: the sites refuse to do a round over again.
          SitesMissing: too few came back in time.
          SitesCame: a site would like to join.
        """
        super().round_done(report)
        if (self.attendance.directory / queue.STOP).exists() and report.round < report.rounds:
            raise RunInterrupted(f"stopped after round {report.round} of {report.rounds}, as asked")
        if report.failure and "AlreadyAnswered" in report.dropped.values():
            raise RunError(ADVICE)
        if report.failure and report.round < report.rounds:
            self.attendance.wait(self.sites, least=self.least)
        if report.round < report.rounds and self.newcomers.waiting(self.sites):
            raise SitesCame
