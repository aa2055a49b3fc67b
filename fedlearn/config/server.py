"""Who takes part in a round, and what becomes of the updates."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fedlearn.config.section import Arguments, Fraction, Section


class AlgorithmConfig(Section):
    """What the server does with the aggregate."""

    name: str = Field(
        default="fedavg",
        description="fedavg, fedprox, fedavgm, fedadam, fedyogi, fedadagrad, scaffold, feddyn, or"
        " module:Name",
    )
    arguments: Arguments = Field(default_factory=dict, description="the algorithm's own arguments")


class AggregationConfig(Section):
    """How the updates of a round are combined."""

    name: str = Field(
        default="weighted-mean", description="weighted-mean, median, trimmed-mean, krum, or module:Name"
    )
    weights: Literal["declared", "uniform"] = Field(
        default="declared", description="weigh clients by declared size, or all alike; both are public"
    )
    arguments: Arguments = Field(default_factory=dict, description="the aggregator's own arguments")


class CohortConfig(Section):
    """Which clients take part in a round."""

    fraction: Fraction = Field(default=1.0, description="share of the population in a round")
    sampling: Literal["fixed", "poisson"] = Field(
        default="fixed", description="a fixed number of clients, or each by its own coin"
    )
    deadline_seconds: float | None = Field(
        default=None,
        gt=0,
        description="wait for one step's answers; later clients are dropouts; none waits. In a simulation:"
        " simulated seconds, with fleet.enabled",
    )
    over_selection: float = Field(
        default=1.0,
        ge=1,
        le=10,
        description="so many times the cohort is asked, and a round ends with the first that are enough; with"
        " fleet.enabled",
    )
