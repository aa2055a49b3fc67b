"""What a simulation injects, and what it compares with."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fedlearn.config.section import Section


class FaultsConfig(Section):
    """Faults that a simulation injects."""

    dropout: float = Field(default=0.0, ge=0, lt=1, description="chance that a client vanishes in a round")
    step: Literal["any", "advertise", "share", "input", "agree", "unmask"] = Field(
        default="any", description="the step at which it vanishes; without secure aggregation all are one"
    )


class BaselinesConfig(Section):
    """What the federated model is compared with."""

    local: bool = Field(default=False, description="each client alone, without protection")
    unprotected: bool = Field(default=False, description="the same federation without any protection")
    pooled: bool = Field(default=False, description="all records in one place, without protection")
