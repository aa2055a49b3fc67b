"""A model of sites' own records, given the published constants that they standardised by.

The server of such a run knows no data set, so its run directory cannot hold the constants. They are public:
whoever knows which data set's they were can say so.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fedlearn.config import DataConfig
from fedlearn.errors import ConfigError, DataError
from fedlearn.experiment.population import load_data_set
from fedlearn.results.loading import LoadedModel
from fedlearn.runs.signature import Signature


def with_constants_of(loaded: LoadedModel, name: str, *, folder: Path | None = None) -> LoadedModel:
    """Returns the model with the published constants of a data set in front.

    Args:
      loaded: a model whose run did not know the constants that its clients standardised by.
      name: the data set whose constants they used.
      folder: its local files.

    Raises:
      ConfigError: the run holds the constants or has none, or the data set publishes none.
      DataError: the data set's records have another shape.
    """
    by = loaded.signature.standardised_by
    if by != "unknown constants":
        raise ConfigError(
            f"{loaded.directory}: inputs are standardised by {by}, not by published constants that the run"
            " does not know; leave --constants out"
        )
    found = load_data_set(DataConfig(dataset=name, folder=None if folder is None else str(folder)))
    if list(found.shape) != loaded.signature.shape:
        raise DataError(
            f"data set {name!r} has records of shape {list(found.shape)},"
            f" the model takes {loaded.signature.shape}"
        )
    if found.scale is None:
        raise ConfigError(
            f"data set {name!r} publishes no constants: its values are taken as they are; use --as-is"
        )
    constants = {
        "standardised_by": "constants",
        "features": loaded.signature.features or (found.features and list(found.features)),
        "center": found.scale.center.ravel().tolist(),
        "spread": found.scale.spread.ravel().tolist(),
    }
    return replace(loaded, signature=Signature.model_validate({**loaded.signature.model_dump(), **constants}))
