"""Rounds without a cohort: clients take part as they become free."""

from __future__ import annotations

from pydantic import Field

from fedlearn.config.section import Section


class AsynchronousConfig(Section):
    """Buffered asynchronous aggregation (FedBuff): a round ends with enough updates, of whatever model."""

    enabled: bool = Field(
        default=False, description="let clients train at their own pace; with fleet.enabled, simulation only"
    )
    buffer: int = Field(default=10, ge=1, description="K: updates that make a step of the server, a round")
    concurrency: int = Field(default=20, ge=1, description="clients that train at the same time")
    staleness_exponent: float = Field(
        default=0.5, ge=0, le=10, description="a: an update that is τ steps old counts (1 + τ)^−a; 0: as any"
    )
