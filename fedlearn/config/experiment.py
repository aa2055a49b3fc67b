"""One experiment, complete."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import tomli_w
from pydantic import Field
from pydantic.fields import FieldInfo

from fedlearn.config.asynchronous import AsynchronousConfig
from fedlearn.config.compression import CompressionConfig
from fedlearn.config.data import DataConfig
from fedlearn.config.devices import DevicesConfig
from fedlearn.config.fleet import FleetConfig
from fedlearn.config.personalisation import PersonalisationConfig
from fedlearn.config.protection import PrivacyConfig, SecureAggregationConfig
from fedlearn.config.reading import overlaid, parsed, toml_file, validated
from fedlearn.config.remedies import RemediesConfig
from fedlearn.config.section import Name, Section
from fedlearn.config.server import AggregationConfig, AlgorithmConfig, CohortConfig
from fedlearn.config.simulation import BaselinesConfig, FaultsConfig
from fedlearn.config.tasks import TaskConfig
from fedlearn.config.training import ModelConfig, TrainingConfig


class ExperimentConfig(Section):
    """One experiment, complete.

    >>> ExperimentConfig.from_dict({"name": "a", "privacy": {"epsilom": 3.0}})
    Traceback (most recent call last):
        ...
    fedlearn.errors.ConfigError: privacy.epsilom is not a key. Did you mean 'epsilon'?
    """

    name: Name = Field(default="experiment", description="letters, digits, dot, dash; names the run")
    rounds: int = Field(default=10, ge=1, le=1_000_000, description="number of rounds")
    seed: int = Field(
        default=0,
        ge=0,
        lt=2**63,
        description="of partition, initial model, cohorts and batch order; never of noise",
    )
    reproducible_noise: bool = Field(
        default=False, description="seed the noise too: simulation only, stamped on every result"
    )
    metrics: list[str] = Field(
        default=["accuracy", "f1", "recall"],
        min_length=1,
        description="accuracy, precision, recall, f1, auc, loss; mse, mae, r2 of regression; or module:Name",
    )
    evaluate_every: int = Field(
        default=1, ge=1, description="rounds from one test to the next; the last round is always tested"
    )
    data: DataConfig = Field(default_factory=DataConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    remedies: RemediesConfig = Field(default_factory=RemediesConfig)
    tasks: dict[str, TaskConfig] = Field(
        default={},
        description="multi-task learning: task → its clients (patterns), outputs, loss and metrics; heads"
        " stay at the clients",
    )
    algorithm: AlgorithmConfig = Field(default_factory=AlgorithmConfig)
    personalisation: PersonalisationConfig = Field(default_factory=PersonalisationConfig)
    aggregation: AggregationConfig = Field(default_factory=AggregationConfig)
    cohort: CohortConfig = Field(default_factory=CohortConfig)
    asynchronous: AsynchronousConfig = Field(default_factory=AsynchronousConfig)
    compression: CompressionConfig = Field(default_factory=CompressionConfig)
    privacy: PrivacyConfig = Field(default_factory=PrivacyConfig)
    secure_aggregation: SecureAggregationConfig = Field(default_factory=SecureAggregationConfig)
    devices: DevicesConfig = Field(default_factory=DevicesConfig)
    faults: FaultsConfig = Field(default_factory=FaultsConfig)
    fleet: FleetConfig = Field(default_factory=FleetConfig)
    baselines: BaselinesConfig = Field(default_factory=BaselinesConfig)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Returns the experiment; raises ConfigError with one line per mistake."""
        return validated(cls, values)

    @classmethod
    def from_toml_text(cls, text: str, *, settings: Sequence[str] = ()) -> Self:
        """Returns the experiment written in TOML, with ``key=value`` settings laid over it."""
        return cls.from_dict(overlaid(parsed(text, "the experiment"), settings))

    @classmethod
    def from_toml(cls, path: str | Path, *, settings: Sequence[str] = ()) -> Self:
        """Returns the experiment in a TOML file, with ``key=value`` settings laid over it."""
        return cls.from_dict(overlaid(toml_file(path), settings))

    def to_toml(self) -> str:
        """Returns the complete experiment as TOML; keys without a value are left out."""
        text: str = tomli_w.dumps(self.model_dump(exclude_none=True))
        return text

    def with_settings(self, **sections: Any) -> Self:
        """Returns a copy with whole sections or top-level keys replaced, validated anew."""
        return type(self).from_dict({**self.model_dump(), **sections})


def keys(section: type[Section] = ExperimentConfig, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yields every dotted key with its field, in the order of the file."""
    for name, field in section.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, Section):
            yield from keys(annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field
