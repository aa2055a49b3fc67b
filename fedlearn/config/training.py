"""What is trained, and what a client does in a round."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from fedlearn.config.section import Arguments, Fraction, Section


class ModelConfig(Section):
    """What is trained."""

    name: str = Field(default="mlp", description="a model by name or module:Name")
    arguments: Arguments = Field(default_factory=dict, description="the model's own arguments")
    local_layers: list[str] = Field(
        default=[],
        description="parameters that stay at each client and never travel: patterns of names, as head.*, or"
        " norm for all normalisation layers",
    )


class TrainingConfig(Section):
    """What a client does in a round."""

    optimizer: str = Field(default="sgd", description="sgd, adam, adamw, or module:Name")
    learning_rate: float = Field(default=0.1, gt=0, description="step size of the local optimizer")
    momentum: float = Field(default=0.0, ge=0, lt=1, description="momentum of sgd")
    weight_decay: float = Field(default=0.0, ge=0, description="L2 penalty, decoupled in adamw")
    schedule: str = Field(
        default="constant",
        description="learning rate over rounds: constant, cosine, linear, step, or module:Name",
    )
    batch_size: int | None = Field(
        default=None, ge=1, description="records per step; none: all of them, or sample_rate"
    )
    sample_rate: Fraction | None = Field(
        default=None,
        description="chance that a record enters a step (Poisson batches); instead of batch_size",
    )
    epochs: int | None = Field(
        default=None, ge=1, description="passes over the records per round (default 1)"
    )
    local_steps: int | None = Field(default=None, ge=1, description="steps per round; instead of epochs")
    loss: str = Field(default="cross-entropy", description="cross-entropy, mse, or module:Name")
    clipping: Literal["auto", "fast", "hooks", "ghost"] = Field(
        default="auto",
        description="how per-record gradients are clipped: the faster rule for each layer, book-keeping"
        " wherever there is a formula, Opacus' hooks, or a second backward pass; the sums are equal",
    )

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        for one, other in (("batch_size", "sample_rate"), ("epochs", "local_steps")):
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise ValueError(f"{one} and {other} exclude each other: give one")
        return self
