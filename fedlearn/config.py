"""What an experiment says: frozen, typed, documented, read from TOML.

Every key has a type, a default, a range and a sentence. A key that is not known is an error that
names the nearest one, because a typo in a privacy setting must never be silent. Which parts go
together (a model with a data set, an aggregator with secure aggregation) is checked one floor up,
where names are resolved: :class:`fedlearn.experiment.Experiment`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from fedlearn.errors import ConfigError
from fedlearn.registry import nearest

Arguments = dict[str, Any]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Fraction = Annotated[float, Field(gt=0, le=1)]


class Section(BaseModel):
    """A table of the file: frozen, no unknown keys, no silent conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


S = TypeVar("S", bound=Section)


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


class ModelConfig(Section):
    """What is trained."""

    name: str = Field(default="mlp", description="a model by name or module:Name")
    arguments: Arguments = Field(default_factory=dict, description="the model's own arguments")


class TrainingConfig(Section):
    """What a client does in a round."""

    optimizer: str = Field(default="sgd", description="sgd, adam, adamw, or module:Name")
    learning_rate: float = Field(default=0.1, gt=0, description="step size of the local optimizer")
    momentum: float = Field(default=0.0, ge=0, lt=1, description="momentum of sgd")
    weight_decay: float = Field(default=0.0, ge=0, description="L2 penalty, decoupled in adamw")
    schedule: str = Field(
        default="constant",
        description="learning rate over rounds: constant, cosine, linear, step, or module:Name",
    )
    batch_size: int | None = Field(
        default=None, ge=1, description="records per step; none: all of them, or sample_rate"
    )
    sample_rate: Fraction | None = Field(
        default=None,
        description="chance that a record enters a step (Poisson batches); instead of batch_size",
    )
    epochs: int | None = Field(
        default=None, ge=1, description="passes over the records per round (default 1)"
    )
    local_steps: int | None = Field(default=None, ge=1, description="steps per round; instead of epochs")
    loss: str = Field(default="cross-entropy", description="cross-entropy, mse, or module:Name")
    clipping: Literal["auto", "fast", "hooks", "ghost"] = Field(
        default="auto",
        description="how per-record gradients are clipped: the faster rule for each layer, book-keeping"
        " wherever there is a formula, Opacus' hooks, or a second backward pass; the sums are equal",
    )

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        for one, other in (("batch_size", "sample_rate"), ("epochs", "local_steps")):
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise ValueError(f"{one} and {other} exclude each other: give one")
        return self


class AlgorithmConfig(Section):
    """What the server does with the aggregate."""

    name: str = Field(
        default="fedavg",
        description="fedavg, fedprox, fedavgm, fedadam, fedyogi, fedadagrad, or module:Name",
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
        default=None, gt=0, description="wait for one step's answers; later clients are dropouts; none waits"
    )


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
        description="accuracy, precision, recall, f1, auc, loss, or module:Name",
    )
    data: DataConfig = Field(default_factory=DataConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    algorithm: AlgorithmConfig = Field(default_factory=AlgorithmConfig)
    aggregation: AggregationConfig = Field(default_factory=AggregationConfig)
    cohort: CohortConfig = Field(default_factory=CohortConfig)
    privacy: PrivacyConfig = Field(default_factory=PrivacyConfig)
    secure_aggregation: SecureAggregationConfig = Field(default_factory=SecureAggregationConfig)
    faults: FaultsConfig = Field(default_factory=FaultsConfig)
    baselines: BaselinesConfig = Field(default_factory=BaselinesConfig)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Returns the experiment; raises ConfigError with one line per mistake."""
        return validated(cls, values)

    @classmethod
    def from_toml_text(cls, text: str, *, settings: Sequence[str] = ()) -> Self:
        """Returns the experiment written in TOML, with ``key=value`` settings laid over it."""
        return cls.from_dict(_overlaid(_parsed(text, "the experiment"), settings))

    @classmethod
    def from_toml(cls, path: str | Path, *, settings: Sequence[str] = ()) -> Self:
        """Returns the experiment in a TOML file, with ``key=value`` settings laid over it."""
        return cls.from_dict(_overlaid(toml_file(path), settings))

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


def validated(section: type[S], values: Mapping[str, Any]) -> S:
    """Returns the section with these values; raises ConfigError with one line per mistake."""
    try:
        return section.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(detail, section) for detail in error.errors())) from None


def toml_file(path: str | Path) -> dict[str, Any]:
    """Returns the values of a TOML file; raises ConfigError if it cannot be read or parsed."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text at byte {error.start}") from None
    return _parsed(text, str(path))


def _parsed(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where} is not valid TOML: {error}") from None


def _overlaid(values: dict[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator:
            raise ConfigError(f"setting {setting!r} must read key=value")
        *tables, last = key.strip().split(".")
        table = values
        for name in tables:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                raise ConfigError(f"{key.strip()} is not a key: {name!r} holds a value, not a table")
        table[last] = _value(text.strip())
    return values


def _value(text: str) -> Any:
    """Reads a TOML value; a bare word is a string."""
    try:
        value: Any = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return value


def _section(location: Sequence[str | int], root: type[Section]) -> type[Section]:
    section = root
    for name in location:
        field = section.model_fields.get(str(name))
        if field is None or not (
            isinstance(field.annotation, type) and issubclass(field.annotation, Section)
        ):
            break
        section = field.annotation
    return section


def _explain(detail: ErrorDetails, root: type[Section]) -> str:
    key = ".".join(str(part) for part in detail["loc"] if str(part) not in {"int", "dict[str,int]", "float"})
    if detail["type"] == "extra_forbidden":
        known = list(_section(detail["loc"][:-1], root).model_fields)
        hint = nearest(str(detail["loc"][-1]), known) or f" Known here: {', '.join(known)}"
        return f"{key} is not a key.{hint}"
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Input ").rstrip(".")
    if detail["type"] == "value_error":
        return f"{key}: {message}" if key else message
    return f"{key}={detail['input']!r} {message}"
