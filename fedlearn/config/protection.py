"""What is promised to clients and to their records."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from fedlearn.config.section import Section


class PrivacyConfig(Section):
    """Differential privacy: what is promised, and to what the noise is calibrated."""

    enabled: bool = Field(default=False, description="train with differential privacy")
    unit: Literal["record", "client"] = Field(
        default="record", description="what the guarantee protects: one record, or one client with all it has"
    )
    noise: Literal["local", "distributed", "central"] = Field(
        default="local",
        description="who adds the noise: each client all of it (records), the cohort together under secure"
        " aggregation (records: in rounds of one step), or the server (clients)",
    )
    epsilon: float | None = Field(
        default=None, gt=0, description="ε to calibrate the noise to, over all rounds, per client"
    )
    noise_multiplier: float | None = Field(
        default=None, gt=0, description="σ: noise over max_grad_norm; instead of epsilon"
    )
    delta: float = Field(default=1e-5, gt=0, lt=1, description="δ, below one over the largest declared size")
    max_grad_norm: float = Field(default=1.0, gt=0, description="L2 bound of one record's gradient")
    statistics: Literal["charged", "declared"] = Field(
        default="charged",
        description="the sums of data.standardise='federated': noised and charged to epsilon, or exact and"
        " declared unprotected wherever ε is printed",
    )
    statistics_epsilon: float | None = Field(
        default=None,
        gt=0,
        description="ε that these sums spend by themselves; what is left of epsilon goes to training;"
        " none: a third of epsilon",
    )
    statistics_norm: float | None = Field(
        default=None,
        gt=0,
        description="L2 bound of one record's (x, x² − 1) in these sums, in public units;"
        " none: √(2 · features)",
    )
    clip_norm: float = Field(
        default=1.0, gt=0, description="unit client: L2 bound of an update; the first, if adaptive"
    )
    clip_quantile: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="unit client: share of updates that an adaptive clip_norm leaves whole; none: it stays",
    )
    clip_learning_rate: float = Field(
        default=0.2, gt=0, description="step of clip_norm towards clip_quantile"
    )
    clip_bit_stddev: float | None = Field(
        default=None,
        gt=0,
        description="noise on the number of updates within clip_norm; none: a tenth of the cohort, or three"
        " times noise_multiplier where that is more",
    )
    against: Literal["everyone", "outsiders"] = Field(
        default="everyone",
        description="unit client: whom epsilon is calibrated against: all that the guarantee names, or those"
        " only who get the model and see no cohort, which must be Poisson",
    )

    @field_validator("unit", mode="before")
    @classmethod
    def _one_unit(cls, unit: object) -> object:
        if unit == "both" or isinstance(unit, list | tuple):
            raise ValueError(
                "one of 'record' and 'client': noise for both is paid for twice, and a client-level"
                " guarantee covers each of its records, too (decision 27)"
            )
        return unit

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if self.enabled and (self.epsilon is None) == (self.noise_multiplier is None):
            raise ValueError("give exactly one of epsilon and noise_multiplier")
        return self


class SecureAggregationConfig(Section):
    """The server learns a sum and nothing else."""

    enabled: bool = Field(default=False, description="mask updates so that the server learns only their sum")
    mode: Literal["masked", "ideal"] = Field(
        default="masked",
        description="the real protocol, or the same ring sum without keys (simulation only, bit-identical)",
    )
    modulus_bits: Literal[16, 32] = Field(
        default=32, description="ring of the sum: 2 or 4 bytes per parameter"
    )
    colluders: int = Field(
        default=1, ge=1, description="members of the roster that may collude with the server"
    )
    min_survivors: int | None = Field(
        default=None, ge=4, description="fewest clients in a sum; none: the least that the rules allow"
    )
    dropout: float = Field(
        default=0.1, ge=0, lt=0.5, description="share of a cohort that may vanish; for cohorts above 64 only"
    )
    value_range: float = Field(
        default=8.0, gt=0, description="largest magnitude of one coordinate of an update; larger is an error"
    )
    redo_without_dp: bool = Field(
        default=False,
        description="without DP, give a second masked update for the same model after a failed round;"
        " two sums that differ by one client are that client's update",
    )
    fractional_bits: int | None = Field(
        default=None, ge=1, le=52, description="resolution 2^-bits; none: the finest that cannot overflow"
    )
