"""``result.json``: what a run gave, in a versioned schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedlearn.errors import RunDirectoryError

Metrics = dict[str, float | None]
"""Metric → value; None where it is not defined, as an AUC over one class."""


class _Part(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        ser_json_inf_nan="constants",
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )


class Baseline(_Part):
    """A comparison on the same held-out records, or the reason why there is none."""

    metrics: Metrics | None = Field(description="mean over its models on the common test set")
    spread: dict[str, tuple[float, float]] = Field(
        default_factory=dict, description="least and greatest over clients, each on its own held-out records"
    )
    own: Metrics | None = Field(
        default=None, description="mean over clients, each on its own held-out records"
    )
    reason: str | None = Field(default=None, description="why there are no metrics")


class Baselines(_Part):
    """What the federated model is compared with."""

    local: Baseline
    unprotected: Baseline
    pooled: Baseline


class PrivacyEntry(_Part):
    """One guarantee: ε is never written without what gives it meaning."""

    client: str = Field(description="client id, 'overall', or 'outsiders' who see no cohort")
    unit: Literal["record", "client"]
    epsilon: float
    delta: float
    relation: str
    noise: str
    noise_multiplier: float | None = None
    adversary: str
    accountant: str
    scope: str


class SecureAggregationEntry(_Part):
    """What the server saw."""

    mode: Literal["off", "masked", "ideal"]
    protocol: str | None = None
    bytes_up_per_parameter: float | None = Field(
        default=None, description="bytes of one update on the wire, per parameter"
    )
    trips_per_round: float | None = Field(
        default=None, description="mean number of times per round that the server sent requests and waited"
    )
    dropouts: int = Field(description="clients lost, summed over the run")
    failed_rounds: int
    clients: int | None = None
    colluders: int | None = None
    min_survivors: int | None = None


class CommunicationEntry(_Part):
    """Bytes of all messages, with the vectors beside them, as a deployment would carry them."""

    bytes_up: int = Field(description="received from clients, over all rounds")
    bytes_down: int = Field(description="sent to clients, over all rounds")
    bytes_up_per_client_round: float = Field(description="mean over the clients asked, of all rounds")
    bytes_down_per_client_round: float
    least_up: int = Field(description="of a client in a round; 0 if one was lost")
    most_up: int


class Timing(_Part):
    """Seconds and rates, by the clock on the wall unless they are CPU seconds."""

    setup_s: float
    first_round_s: float
    rounds_s: float
    client_updates: int
    client_updates_per_s: float
    simulated_s: float | None = Field(
        default=None, description="all rounds on the simulated clock; null without fleet.enabled"
    )
    cpu_s: float | None = Field(
        default=None, description="CPU seconds of a simulation with its baselines and worker processes"
    )


class Manifest(_Part):
    """What is needed to run it again. No hash of private data: it would be a membership oracle."""

    versions: dict[str, str]
    seed: int
    git_revision: str | None
    data: str
    initial_weights: str | None = Field(
        default=None, description="public weights that training started from: where from, and their SHA-256"
    )
    reproducible_noise: bool
    python: str
    platform: str


class OwnModel(_Part):
    """What one client ends with: metrics on its own held-out records, and which model it keeps."""

    kept: Literal["global", "personal", "local"] = Field(
        description="the model that its validation records favour"
    )
    global_: Metrics = Field(alias="global", description="of the federated model")
    personal: Metrics = Field(description="of the model that was fine-tuned or trained beside it")
    local: Metrics = Field(description="of a model trained on its own records alone")
    own: Metrics = Field(description="of the model that it keeps")
    records: int = Field(description="held-out records that the metrics are over")


class Personalisation(_Part):
    """What clients gain by models of their own; no ε is spent on it, as none of them leaves its client."""

    method: Literal["fine-tune", "ditto"]
    reason: str | None = Field(default=None, description="why there are no figures")
    clients: dict[str, OwnModel] = Field(default_factory=dict, description="clients of the federation")
    unseen: dict[str, OwnModel] = Field(
        default_factory=dict, description="clients that took no part in the federation"
    )
    means: dict[str, Metrics] = Field(
        default_factory=dict,
        description="global, personal, local and own: means over clients, by held-out records",
    )
    unseen_means: dict[str, Metrics] = Field(
        default_factory=dict, description="the same over clients that took no part"
    )


class Result(_Part):
    """What a run gave.

    Attributes:
      final: metrics of the final model on the common test set.
      directory: the run directory; not part of the file.
    """

    schema_version: Literal[1] = 1
    name: str
    engine: Literal["inprocess", "flower", "sites"]
    rounds: int = Field(description="number of rounds completed")
    final: Metrics
    spread: dict[str, tuple[float, float]] = Field(default_factory=dict)
    per_client: dict[str, Metrics] = Field(
        default_factory=dict, description="the final model on each client's own held-out records"
    )
    baselines: Baselines
    personalisation: Personalisation | None = Field(default=None, description="none unless asked for")
    privacy: list[PrivacyEntry]
    secure_aggregation: SecureAggregationEntry
    communication: CommunicationEntry | None = None
    timing: Timing
    peak_rss_mb: float
    manifest: Manifest
    findings: list[str] = Field(default_factory=list)
    directory: Path | None = Field(default=None, exclude=True)

    @property
    def epsilon(self) -> float | None:
        """The overall ε, None without DP; read δ, unit and relation from :attr:`privacy`."""
        return next((entry.epsilon for entry in self.privacy if entry.client == "overall"), None)

    def to_json(self) -> str:
        """Returns the file's text."""
        return self.model_dump_json(indent=2)

    @classmethod
    def load(cls, directory: str | Path) -> Result:
        """Returns the result in a run directory; raises RunDirectoryError if there is none of schema 1."""
        path = Path(directory) / "result.json"
        try:
            result = cls.model_validate_json(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise RunDirectoryError(
                f"{directory} holds no finished run: {path.name}: {error.strerror}"
            ) from None
        except ValidationError as error:
            raise RunDirectoryError(
                f"{path} is not a result of schema 1: {error.errors()[0]['msg']}"
            ) from None
        return result.model_copy(update={"directory": Path(directory)})


def result_schema() -> dict[str, Any]:
    """Returns the JSON Schema of ``result.json``."""
    schema: dict[str, Any] = json.loads(json.dumps(Result.model_json_schema(mode="serialization")))
    return schema
