"""``attacks.json``: what an adversary got from an experiment, under each of its protections."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from fedlearn.errors import RunDirectoryError

ATTACKS_FILE = "attacks.json"

Sees: TypeAlias = Literal["one update", "the sum", "the final model"]
"""What reaches the adversary: what left one client, what the round gave, or what the run gave."""

Base64: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]+={0,2}$", max_length=200_000)]


class Picture(BaseModel):
    """A record that is an image, beside what an attack made of it; both PNG files in base64."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    truth: Base64 = Field(description="the record as its client holds it")
    found: Base64 = Field(description="the nearest of what the attack recovered")
    psnr_db: float = Field(description="how near it comes")


class AttackReport(BaseModel):
    """The score of one attack on one experiment, beside that of a blind guess.

    >>> AttackReport(attack="membership", adversary="a recipient", sees="the final model",
    ...              score="auc", value=0.71, null=0.5, success=0.6).succeeded
    True
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    attack: str = Field(description="the word that it is registered under")
    adversary: str = Field(description="who it is, as a noun phrase")
    sees: Sees
    about: Literal["a record", "a client"] = Field(
        default="a record",
        description="whose secret it is; record-level privacy promises little about all that a client holds",
    )
    score: Literal["psnr_db", "auc", "epsilon"] = Field(
        description="what is measured: how near recovered records come, how well two kinds are told apart,"
        " or the least ε that the outcome leaves possible"
    )
    value: float = Field(description="the score; larger is worse for the records")
    null: float = Field(description="the best guess of one who has seen nothing of the run")
    success: float = Field(description="the score from which the attack counts as successful")
    details: dict[str, float] = Field(default_factory=dict, description="other figures, by name and unit")
    pictures: list[Picture] = Field(
        default_factory=list, description="some of the records, where they are images; simulation only"
    )

    @property
    def succeeded(self) -> bool:
        """Whether the score reaches ``success``."""
        return self.value >= self.success


Table: TypeAlias = Mapping[str, list[AttackReport]]
"""Protection → reports of the attacks on it."""

_reader = TypeAdapter(dict[str, list[AttackReport]])


def attacks_json(table: Table) -> str:
    """Returns the file's text."""
    rows = {name: [report.model_dump() for report in reports] for name, reports in table.items()}
    return json.dumps(rows, indent=2)


def load_attacks(directory: Path) -> Table:
    """Returns the attacks on a run; empty if there were none.

    Raises:
      RunDirectoryError: the file is there and is not what ``attacks_json`` writes.
    """
    path = directory / ATTACKS_FILE
    try:
        return _reader.validate_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValidationError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror
        raise RunDirectoryError(f"{path} cannot be read: {reason}; run fedlearn attack again") from None
