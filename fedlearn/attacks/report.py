"""What an attack found, beside what anyone would have guessed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

Sees: TypeAlias = Literal["one update", "the sum", "the final model"]
"""What reaches the adversary: what left one client, what the round gave, or what the run gave."""


@dataclass(frozen=True, kw_only=True)
class AttackReport:
    """The score of one attack on one experiment.

    Attributes:
      attack: the word it is registered under.
      adversary: who it is, as a noun phrase.
      sees: what it has seen.
      score: what is measured: ``"psnr_db"`` of recovered records, or ``"auc"`` of telling members.
      value: the score; larger is worse for the records.
      null: the score of the best guess by one who has seen nothing of the run.
      success: the score from which the attack counts as successful.
      details: other figures, by name with their unit.
    """

    attack: str
    adversary: str
    sees: Sees
    score: Literal["psnr_db", "auc"]
    value: float
    null: float
    success: float
    details: Mapping[str, float] = field(default_factory=dict)

    @property
    def succeeded(self) -> bool:
        """Whether the score reaches ``success``.

        >>> AttackReport(attack="membership", adversary="a recipient", sees="the final model",
        ...              score="auc", value=0.71, null=0.5, success=0.6).succeeded
        True
        """
        return self.value >= self.success

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as JSON-able values."""
        return {**asdict(self), "details": dict(self.details), "succeeded": self.succeeded}
