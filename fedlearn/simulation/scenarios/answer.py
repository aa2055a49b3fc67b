"""The figures that answer a question, kept in ``answers/NAME.json``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedlearn.errors import RunDirectoryError
from fedlearn.rounds.checkpoint import write_atomically

ANSWERS = "answers"
Scores = list[float | None]
"""One per run; None where a run has no such figure."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class AttackScores(_Part):
    """What one attack got from the federation of one row."""

    score: str = Field(description="psnr_db, auc, …: what is measured; larger is worse for the records")
    values: list[float] = Field(description="one per attacker")
    null: float = Field(description="the best guess of one who has seen nothing")
    success: float = Field(description="the score from which the attack counts as successful")
    details: dict[str, float] = Field(default_factory=dict, description="other figures of the first attacker")


class Row(_Part):
    """One row of the table: the same records under one condition, with one remedy."""

    condition: str
    remedy: str = Field(description="its label; empty for the federation without any")
    local: Scores
    federated: Scores
    remedied: Scores
    pooled: Scores
    epsilon: float | None = Field(default=None, description="the greatest ε of the runs with the remedy")
    attacks: dict[str, AttackScores] = Field(default_factory=dict)

    @property
    def gains(self) -> list[float]:
        """What the remedy adds, run by run."""
        pairs = zip(self.remedied, self.federated, strict=True)
        return [a - b for a, b in pairs if a is not None and b is not None]


class Answer(_Part):
    """All rows of a question."""

    source: str = Field(description="digest of the two files that asked")
    metric: str
    remedy: str
    cpu_seconds: float = Field(description="of all runs and attacks, whenever they were made")
    plain_attacks: dict[str, dict[str, AttackScores]] = Field(
        default_factory=dict, description="condition → attacks on the federation without any remedy"
    )
    rows: list[Row]

    @classmethod
    def load(cls, folder: Path, name: str) -> Self | None:
        """Returns the kept answer; None if there is none yet.

        Raises:
          RunDirectoryError: the file is there and is not what :meth:`save` writes.
        """
        path = folder / ANSWERS / f"{name}.json"
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror
            raise RunDirectoryError(f"{path} cannot be read: {reason}; run the scenario again") from None

    def save(self, folder: Path, name: str) -> None:
        """Writes the answer; raises RunDirectoryError if it cannot."""
        path = folder / ANSWERS / f"{name}.json"
        write_atomically(path, f"{self.model_dump_json(indent=1)}\n".encode())


def rounded(values: Sequence[float | None]) -> Scores:
    """Returns the scores to the four digits that a table of this size can mean."""
    return [None if value is None else round(value, 4) for value in values]
