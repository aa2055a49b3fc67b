"""``signature.json``: what goes into a run's model and what comes out, for whoever uses it later.

Everything in it is public: the shape of a record, the names of its values, and the published constants that
inputs are standardised by. Constants that are made of records are in the model or stay at their client.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fedlearn.data.standardise import Standardisation
from fedlearn.errors import RunDirectoryError
from fedlearn.experiment import Experiment

SIGNATURE_FILE = "signature.json"
_LARGEST_RECORD = 2**24


class Signature(BaseModel):
    """The form of a model's inputs and outputs."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    schema_version: Literal[1] = 1
    shape: list[int] = Field(min_length=1, max_length=8, description="of one record")
    dtype: Literal["float32", "int64"] = Field(description="values, or tokens")
    classes: int | None = Field(default=None, ge=1, description="number of classes; None with an own model")
    vocabulary: int | None = Field(default=None, ge=2, description="number of tokens; None for values")
    features: list[str] | None = Field(default=None, description="name of each value of a row")
    standardised_by: Literal["nothing", "constants", "each client", "unknown constants"] = Field(
        description="what happens to inputs before the model: nothing, (x − center) / spread with the"
        " constants here, each client's own constants, or public ones that its writer did not know"
    )
    center: list[float] | None = Field(default=None, description="flattened; one number stands for all")
    spread: list[float] | None = Field(default=None, description="like center; above 0")
    own_model: bool = Field(
        default=False, description="a model given as an object: the experiment cannot build it"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        size = math.prod(self.shape)
        if min(self.shape) < 1 or size > _LARGEST_RECORD:
            raise ValueError(f"shape={self.shape} is no shape of a record")
        if self.features is not None and [len(self.features)] != self.shape:
            raise ValueError(f"{len(self.features)} names for records of shape {self.shape}")
        constants = self.standardised_by == "constants"
        for name, values in (("center", self.center), ("spread", self.spread)):
            if (values is not None) != constants or (values is not None and len(values) not in {1, size}):
                raise ValueError(f"{name} does not fit records of shape {self.shape}")
        if self.spread is not None and min(self.spread) <= 0:
            raise ValueError("spread must be above 0")
        return self

    @property
    def scale(self) -> Standardisation | None:
        """The constants in the shape of a record, or one number for all; None if there are none here."""
        if self.center is None or self.spread is None:
            return None
        shape = tuple(self.shape) if len(self.center) > 1 else ()
        center, spread = np.array(self.center), np.array(self.spread)
        return Standardisation(center=center.reshape(shape), spread=spread.reshape(shape))

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Returns the signature of a run's model.

        Raises:
          RunDirectoryError: there is none, or the file is not one.
        """
        path = directory / SIGNATURE_FILE
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise RunDirectoryError(
                f"{directory} holds no model to use: {path.name}: {error.strerror}"
            ) from None
        except ValidationError as error:
            raise RunDirectoryError(f"{path} cannot be read: {error.errors()[0]['msg']}") from None


def signature_of(experiment: Experiment) -> Signature | None:
    """Returns the signature of an experiment's model; None where nobody here knows the form of a record."""
    population = experiment.population
    shape, is_token = population.shape, population.vocabulary is not None
    if shape is None:
        if not population.clients or experiment.known is not None:
            return None
        inputs = next(iter(population.clients.values())).train[0][0]
        shape, is_token = tuple(np.shape(inputs)), not inputs.is_floating_point()
    scale = population.scale
    return Signature(
        shape=list(shape) or [1],
        dtype="int64" if is_token else "float32",
        classes=population.classes or experiment.config.model.arguments.get("classes"),
        vocabulary=population.vocabulary,
        features=None if population.features is None else list(population.features),
        standardised_by=_standardised_by(experiment, is_token=is_token),
        center=None if scale is None else scale.center.ravel().tolist(),
        spread=None if scale is None else scale.spread.ravel().tolist(),
        own_model=experiment.model is not None,
    )


def _standardised_by(
    experiment: Experiment, *, is_token: bool
) -> Literal["nothing", "constants", "each client", "unknown constants"]:
    mode = experiment.config.data.standardise
    if experiment.population.scale is not None:
        return "constants"
    if is_token or mode == "none" or experiment.clients is not None:
        return "nothing"
    if mode == "local":
        return "each client"
    return "nothing" if experiment.known is None else "unknown constants"
