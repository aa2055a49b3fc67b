"""Which records, and who holds them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fedlearn.config.section import Arguments, Fraction, Section


class PartitionConfig(Section):
    """How the records of one data set are dealt to clients."""

    kind: str = Field(
        default="iid", description="iid, dirichlet, shards, quantity-skew, by-owner, or module:Name"
    )
    clients: int | None = Field(
        default=None, ge=1, le=1_000_000, description="number of clients; none: one per owner (by-owner)"
    )
    arguments: Arguments = Field(default_factory=dict, description="the partitioner's own arguments")


class ScarcityConfig(Section):
    """Data made scarce on purpose, in a simulation."""

    records_per_client: int | None = Field(
        default=None,
        ge=1,
        description="training records that each client keeps, drawn by the seed; none: all",
    )
    labelled_fraction: Fraction = Field(
        default=1.0,
        description="share of each client's training records that have a label; others are left out",
    )
    missing_features: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of features that each client lacks, its own set; tables only",
    )


class DataConfig(Section):
    """Which records, and who holds them."""

    dataset: str | None = Field(
        default=None, description="a data set by name or module:Name; none when clients are given as objects"
    )
    arguments: Arguments = Field(default_factory=dict, description="the data set's own arguments")
    folder: str | None = Field(default=None, description="local folder that holds the data set's files")
    partition: PartitionConfig = Field(
        default_factory=PartitionConfig, description="how records are dealt to clients"
    )
    unseen_clients: int = Field(
        default=0,
        ge=0,
        description="clients, drawn by the seed, that take no part in training: whether the model serves"
        " strangers; simulation only",
    )
    test_fraction: float = Field(
        default=0.2, gt=0, lt=1, description="share of records held out for testing, stratified"
    )
    scarcity: ScarcityConfig = Field(
        default_factory=ScarcityConfig, description="fewer records, labels or features; simulation only"
    )
    standardise: Literal["public", "federated", "local", "none"] = Field(
        default="public",
        description="scale inputs by published constants, after these by mean and spread of all clients'"
        " records together (a release before round 1), by each client's own statistics, or not at all",
    )
    declared_size: int | dict[str, int] | None = Field(
        default=None,
        description="public number of training records, of every client or by client; everything that shapes"
        " a mechanism or a weight derives from it; none: a simulation declares the true size",
    )
