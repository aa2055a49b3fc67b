"""What helps where data is scarce; every remedy is off unless it is asked for."""

from __future__ import annotations

from pydantic import Field

from fedlearn.config.section import Arguments, Section


class RemedyConfig(Section):
    """One remedy of a list."""

    name: str = Field(description="a remedy by name or module:Name")
    arguments: Arguments = Field(default_factory=dict, description="the remedy's own arguments")


class InitialConfig(Section):
    """Public weights that training starts from."""

    name: str | None = Field(
        default=None, description="safetensors, hugging-face, or module:Name; none: random weights"
    )
    arguments: Arguments = Field(
        default_factory=dict, description="its own arguments: file (safetensors), folder (hugging-face)"
    )
    part: str = Field(
        default="", description="take the weights of this part alone, as body; empty: of the whole model"
    )
    sha256: str | None = Field(
        default=None,
        min_length=64,
        max_length=64,
        description="digest that the file must have, in hex; none: any",
    )


class TuningConfig(Section):
    """Which parameters are trained, and so travel."""

    name: str = Field(default="all", description="all, head, lora, peft-lora, or module:Name")
    arguments: Arguments = Field(default_factory=dict, description="the tuning's own arguments")


class PretrainingConfig(Section):
    """Self-supervised pretraining in the federation, before the first round."""

    rounds: int = Field(
        default=0,
        ge=0,
        le=100_000,
        description="rounds in which clients reconstruct all their records, unlabelled ones too; what the"
        " body of the model learns is what training starts from; 0: none",
    )
    learning_rate: float = Field(default=0.1, gt=0, description="step size of the local optimizer")
    noise: float = Field(
        default=0.0,
        ge=0,
        description="stddev of noise on what is to be reconstructed: a denoising autoencoder; 0: none",
    )
    epsilon: float | None = Field(
        default=None,
        gt=0,
        description="ε that pretraining spends by itself; what is left of privacy.epsilon goes to training;"
        " none: a third of privacy.epsilon",
    )


class SynthesisConfig(Section):
    """Synthetic records from a generator that the federation trains before the first round."""

    rounds: int = Field(
        default=0,
        ge=0,
        le=100_000,
        description="rounds in which clients train a conditional generator on labelled records; 0: none",
    )
    records: int = Field(
        default=20,
        ge=1,
        le=1_000_000,
        description="synthetic records that each client adds to its own, of all classes alike",
    )
    learning_rate: float = Field(default=0.1, gt=0, description="step size of the local optimizer")
    epsilon: float | None = Field(
        default=None,
        gt=0,
        description="ε that the generator spends by itself; what is left of privacy.epsilon goes to training;"
        " none: a third of privacy.epsilon",
    )
    unprotected: bool = Field(
        default=False,
        description="generate without privacy, too: a generator may repeat records, and each client gets it",
    )


class RemediesConfig(Section):
    """What helps where data is scarce."""

    augmentation: list[RemedyConfig] = Field(
        default=[],
        description="in turn: shift, flip, crop (images), noise, mixup (tables and images), token-dropout"
        " (text), or module:Name; each a table of name and arguments",
    )
    views: int = Field(
        default=1,
        ge=1,
        le=64,
        description="augmented views of a record in a step; under record-level privacy their mean gradient"
        " is clipped, so that they count as one record",
    )
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="share of each target that is spread evenly over all classes"
    )
    penalties: list[RemedyConfig] = Field(
        default=[], description="l1, l2, proximal, or module:Name; each a table of name and arguments"
    )
    initial: InitialConfig = Field(default_factory=InitialConfig)
    tuning: TuningConfig = Field(default_factory=TuningConfig)
    pretraining: PretrainingConfig = Field(default_factory=PretrainingConfig)
    synthesis: SynthesisConfig = Field(default_factory=SynthesisConfig)
