"""Clients that learn different things over one shared body."""

from __future__ import annotations

from pydantic import Field

from fedlearn.config.section import Section


class TaskConfig(Section):
    """One task: whose it is, and what its head says."""

    clients: list[str] = Field(min_length=1, description="patterns of the ids of its clients, as ward-*")
    outputs: int = Field(ge=1, description="outputs of its head: classes, or regression targets")
    loss: str = Field(default="cross-entropy", description="cross-entropy, mse, or module:Name")
    metrics: list[str] = Field(
        default=["accuracy"], min_length=1, description="its metrics; mse, mae and r2 for regression"
    )
