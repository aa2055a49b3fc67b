"""What each client does with the model for itself, after the federation or beside it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fedlearn.config.section import Section


class PersonalisationConfig(Section):
    """A model of each client's own, kept where the client's validation records favour it."""

    enabled: bool = Field(
        default=False,
        description="give each client the global, a personal or a local-only model, whichever fits its own"
        " validation records best; simulation only",
    )
    method: Literal["fine-tune", "ditto"] = Field(
        default="fine-tune",
        description="the personal model: the global one trained on at the client after the last round, or one"
        " that is trained beside it in every round and pulled towards it (Ditto)",
    )
    validation_fraction: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="share of each client's training records that the federation does not see and the choice"
        " is made on",
    )
    epochs: int = Field(default=20, ge=1, description="fine-tune: passes over the client's records")
    learning_rate: float | None = Field(
        default=None, gt=0, description="of the personal model; none: training.learning_rate"
    )
    strength: float = Field(
        default=0.1, ge=0, description="ditto: weight λ of the pull towards the global model; 0: none"
    )
    keep_models: bool = Field(
        default=False,
        description="write each client's own model into the run directory, for --client of evaluate, predict,"
        " export and explain; nothing protects its records there",
    )
