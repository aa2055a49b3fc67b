"""Whether a session can still succeed with the clients that are left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fedlearn.errors import TooFewClients
from fedlearn.secagg.cohort import Cohort
from fedlearn.secagg.step import Step


@dataclass(frozen=True, kw_only=True)
class Survival:
    """The rules that a step must meet before it is closed.

    Attributes:
      step: the step.
      missing: the clients that fell out so far, for the message.
    """

    step: Step
    missing: tuple[str, ...]

    def check(self, rule: str, *, answered: int, needed: int) -> None:
        """Raises TooFewClients if fewer answered than the rule needs."""
        if answered < needed:
            raise TooFewClients(
                f"{self.step.value}: {answered} clients are left, {rule}={needed} are needed (missing:"
                f" {', '.join(self.missing) or 'none'}); the model is unchanged: wait longer or enlarge"
                " the cohort",
                step=self.step.value,
                answered=answered,
                needed=needed,
                missing=self.missing,
            )

    def check_floor(self, cohort: Cohort, clients: Sequence[str]) -> None:
        """Raises TooFewClients if the clients are fewer than ``min_survivors``."""
        self.check("min_survivors", answered=len(clients), needed=cohort.parameters.min_survivors)

    def check_dealers(self, cohort: Cohort, dealers: Sequence[str]) -> None:
        """Raises TooFewClients if a dealer has fewer holders, itself included, than the threshold."""
        for dealer in dealers:
            holders = len(cohort.neighbours_in(dealer, dealers)) + 1
            needed = cohort.parameters.threshold
            self.check(f"threshold (around {dealer!r})", answered=holders, needed=needed)

    def check_holders(
        self, cohort: Cohort, *, members: Sequence[str], answering: Sequence[str], survivors: Sequence[str]
    ) -> None:
        """Raises TooFewClients if too few that hold shares of some secret are still there.

        Args:
          cohort: the session.
          members: U1.
          answering: the clients that are still there.
          survivors: U2.
        """
        owner, holders = cohort.fewest_holders(members, answering, survivors)
        needed = cohort.parameters.threshold
        self.check(f"threshold (shares of {owner!r})", answered=holders, needed=needed)
