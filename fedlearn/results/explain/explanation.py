"""``explanation.json``: which inputs a run's model goes by, and what telling it has cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from fedlearn.errors import ConfigError, DataError, ModelError
from fedlearn.experiment.population import Population
from fedlearn.privacy.guarantee import PrivacyGuarantee
from fedlearn.results.data import HeldOut
from fedlearn.results.explain.attribution import Attributions, attributions, importance
from fedlearn.results.explain.private import PrivateImportance
from fedlearn.results.loading import LoadedModel
from fedlearn.training.batches import RecordSet, fetch, size_of


class Guarantee(BaseModel):
    """An ε with what gives it meaning."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    epsilon: float
    delta: float
    unit: Literal["record", "client"]
    relation: str
    adversary: str
    accountant: str
    scope: str

    @classmethod
    def of(cls, guarantee: PrivacyGuarantee) -> Guarantee:
        """Returns the guarantee as it is written."""
        values = {name: getattr(guarantee, name) for name in cls.model_fields}
        return cls(**values)


class Explanation(BaseModel):
    """The importance of each value of a record."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    run: str
    method: str
    source: str = Field(description="whose records, in words")
    records: int | None = Field(description="how many; none under differential privacy, where it is private")
    clients: int | None = Field(description="how many vectors were averaged; none for records in one place")
    shape: list[int]
    names: list[str] = Field(description="of each value, row by row")
    shares: list[float] = Field(
        description="of each value in all attributions; they add up to 1 without noise"
    )
    directions: list[float] | None = Field(
        default=None, description="mean attribution to the predicted class, with its sign; none under DP"
    )
    by_class: dict[str, list[float]] = Field(
        default_factory=dict, description="predicted class → shares over its records; empty under DP"
    )
    gap: float | None = Field(
        description="largest error of the integral, in units of the logit; none under DP"
    )
    stddev: float | None = Field(default=None, description="of the noise in each share; none without DP")
    guarantee: Guarantee | None = Field(
        default=None, description="none: the shares are exact, and unprotected"
    )
    together: Guarantee | None = Field(
        default=None, description="of the run and this explanation; none if either guarantees nothing"
    )

    def ranked(self) -> list[int]:
        """Returns the numbers of the values, the most important first."""
        return sorted(range(len(self.shares)), key=lambda at: -self.shares[at])


METHOD = "integrated gradients of the predicted class's logit, from a baseline of 0"


def explain(loaded: LoadedModel, data: HeldOut, *, records: int, rng: np.random.Generator) -> Explanation:
    """Returns the exact importance over records in one place.

    Args:
      loaded: the model.
      data: whose records.
      records: how many of them at most, drawn by ``rng``.
      rng: draws them.

    Raises:
      ConfigError: fewer than one record is asked for.
      ModelError: the model is no classifier of whole records.
      MissingExtra: Captum is not installed.
    """
    if records < 1:
        raise ConfigError(f"--records {records} must be at least 1")
    _check_classifier(loaded)
    found = attributions(loaded.module, _drawn(data.records, records, rng))
    values = found.values
    shape, names = _form(loaded, values)
    return Explanation(
        run=loaded.result.name,
        method=METHOD,
        source=data.source,
        records=len(values),
        clients=None,
        shape=shape,
        names=names,
        shares=_flat(importance(values)),
        directions=_flat(values.mean(axis=0)),
        by_class=_by_class(found),
        gap=found.gap,
    )


def client_vectors(
    loaded: LoadedModel, population: Population, *, records: int
) -> dict[str, NDArray[np.float64]]:
    """Returns each client's importance over its own training records, flattened: private, not to be shown.

    Args:
      loaded: the model.
      population: who holds what.
      records: how many of a client's records at most, drawn anew for each from secret randomness.
    """
    _check_classifier(loaded)
    rng = np.random.default_rng()
    return {
        name: importance(attributions(loaded.module, _drawn(data.train, records, rng)).values).ravel()
        for name, data in population.clients.items()
    }


def private_explanation(
    loaded: LoadedModel, released: PrivateImportance, *, clients: int, together: PrivacyGuarantee | None
) -> Explanation:
    """Returns a released importance as an explanation."""
    values = released.shares[None, :].reshape(1, *_attributed_shape(loaded))
    shape, names = _form(loaded, values)
    return Explanation(
        run=loaded.result.name,
        method=METHOD,
        source=f"the training records of {clients} clients, one clipped vector each, with noise",
        records=None,
        clients=clients,
        shape=shape,
        names=names,
        shares=_flat(released.shares),
        gap=None,
        stddev=released.stddev,
        guarantee=Guarantee.of(released.guarantee),
        together=None if together is None else Guarantee.of(together),
    )


def _check_classifier(loaded: LoadedModel) -> None:
    if not loaded.is_classifier:
        raise ModelError(
            f"model {loaded.config.model.name!r} gives no classes; only a classifier is explained"
        )


def _drawn(records: RecordSet, most: int, rng: np.random.Generator) -> torch.Tensor:
    held = size_of(records, client="data")
    chosen = np.sort(rng.choice(held, size=min(most, held), replace=False))
    return fetch(records, chosen)[0]


def _attributed_shape(loaded: LoadedModel) -> tuple[int, ...]:
    return tuple(loaded.signature.shape)


def _form(loaded: LoadedModel, values: NDArray[np.float64]) -> tuple[list[int], list[str]]:
    shape = list(values.shape[1:])
    count = math.prod(shape)
    if loaded.signature.features is not None:
        if len(loaded.signature.features) != count:
            raise DataError(f"{len(loaded.signature.features)} names for {count} values")
        return shape, list(loaded.signature.features)
    word = "position" if loaded.signature.dtype == "int64" else "value"
    return shape, [f"{word} {number}" for number in range(1, count + 1)]


def _by_class(found: Attributions) -> dict[str, list[float]]:
    return {
        str(label): _flat(importance(found.values[found.classes == label]))
        for label in np.unique(found.classes)
    }


def _flat(values: NDArray[Any] | Sequence[float]) -> list[float]:
    return [float(value) for value in np.ravel(values)]
