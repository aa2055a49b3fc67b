"""How fast a simulation's clients are, and when they can be reached."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from fedlearn.config.section import Section


class FleetConfig(Section):
    """Clients as machines, and with them a simulated clock."""

    enabled: bool = Field(
        default=False, description="give clients a pace and let simulated time pass; simulation only"
    )
    trace: str | None = Field(
        default=None, description="CSV or JSON file with each client's pace and presence; none: draw them"
    )
    trace_repeats: float | None = Field(
        default=None,
        gt=0,
        description="seconds after which the trace's times online start again; none: they end",
    )
    records_per_second: float = Field(
        default=100.0, gt=0, description="records that the median client trains in a second"
    )
    speed_spread: float = Field(
        default=0.0, ge=0, le=5, description="σ of the logarithm of clients' speeds (lognormal); 0: all alike"
    )
    upload_bytes_per_second: float = Field(
        default=1.25e6, gt=0, description="of the median client; 1.25e6 is 10 Mbit/s"
    )
    download_bytes_per_second: float = Field(
        default=6.25e6, gt=0, description="of the median client; 6.25e6 is 50 Mbit/s"
    )
    bandwidth_spread: float = Field(
        default=0.0, ge=0, le=5, description="σ of the logarithm of clients' bandwidths, both ways together"
    )
    online_seconds: float | None = Field(
        default=None, gt=0, description="mean time that a client stays online; none: always"
    )
    offline_seconds: float | None = Field(
        default=None, gt=0, description="mean time that it then stays offline; with online_seconds"
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.online_seconds is None) != (self.offline_seconds is None):
            raise ValueError("online_seconds and offline_seconds belong together: give both or neither")
        if self.trace_repeats is not None and self.trace is None:
            raise ValueError("trace_repeats is given without a trace")
        drawn = self.model_fields_set - {"enabled", "trace", "trace_repeats"}
        given = [
            name for name in sorted(drawn) if getattr(self, name) != type(self).model_fields[name].default
        ]
        if self.trace is not None and given:
            raise ValueError(f"trace and {given[0]} exclude each other: the trace has every client's own")
        return self
