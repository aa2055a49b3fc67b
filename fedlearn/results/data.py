"""The records that a model is evaluated or explained on: held out by its run, of a data set, or of files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import TensorDataset

from fedlearn.config import DataConfig
from fedlearn.data import DATASETS
from fedlearn.errors import ConfigError, DataError
from fedlearn.experiment import Experiment
from fedlearn.experiment.population import Population, load_data_set
from fedlearn.results.loading import LoadedModel
from fedlearn.results.reading import read_records
from fedlearn.training.batches import RecordSet, fetch, size_of

TARGET = "target"


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldOut:
    """Records with their targets.

    Attributes:
      records: in the unit that the trained module takes, after any public standardisation.
      source: where they come from, in words.
    """

    records: RecordSet = field(repr=False)
    source: str


def held_out(
    loaded: LoadedModel,
    data: str | None = None,
    *,
    folder: Path | None = None,
    target: str = TARGET,
    as_is: bool = False,
) -> HeldOut:
    """Returns records to measure a run's model on; never those that a simulation trained it on.

    Args:
      loaded: the model.
      data: a CSV or npz file with targets, a folder of CSV files, a folder with the files of the run's own
        data set, or another data set by name; None takes what the run held out.
      folder: local files of a data set given by name.
      target: column or array of the class.
      as_is: the records of files are standardised already.

    Raises:
      ConfigError: no such data set, or the run held nothing out that could be brought back.
      DataError: the records do not fit the model, or there are none.
    """
    path = None if data is None else Path(data)
    if path is not None and path.is_file():
        return _of_files(loaded, [path], target, as_is)
    if path is not None and path.is_dir():
        tables = sorted(path.glob("*.csv"))
        return _of_files(loaded, tables, target, as_is) if tables else _of_run(loaded, folder=path)
    if data is None or data == loaded.config.data.dataset:
        return _of_run(loaded, folder=folder)
    if data not in DATASETS and ":" not in data:
        raise ConfigError(
            f"data {data!r} is no file, no folder and no data set. Known: {', '.join(sorted(DATASETS))};"
            " your own: 'package.module:Name'"
        )
    return _of_data_set(loaded, data, folder)


def raw(loaded: LoadedModel, data: HeldOut, *, as_is: bool = False) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Returns all inputs (n, *shape), as the deployed model takes them, and targets (n,)."""
    inputs, targets = fetch(data.records, np.arange(size_of(data.records, client="data")))
    scale = loaded.scale(as_is=as_is)
    values = inputs.numpy()
    if scale is not None:
        values = (values * scale.spread + scale.center).astype(np.float32)
    return values, targets.numpy()


def population_of(loaded: LoadedModel, folder: Path | None = None) -> Population:
    """Returns who held what in the run; raises ConfigError where only its sites or its caller know."""
    config = loaded.config
    if config.data.dataset is None or loaded.result.engine == "sites":
        whose = "its sites" if loaded.result.engine == "sites" else "the program that gave them as objects"
        raise ConfigError(f"{loaded.directory}: the run's records are with {whose}; name some with --data")
    if folder is not None:
        config = config.with_settings(data={**config.data.model_dump(), "folder": str(folder)})
    return Experiment(config=config).population


def _of_run(loaded: LoadedModel, *, folder: Path | None) -> HeldOut:
    population = population_of(loaded, folder)
    records, whose = population.test, ""
    if loaded.client is not None:
        client = {**population.clients, **population.unseen}[loaded.client]
        if client.test is not None:
            records, whose = client.test, f" at {loaded.client}"
    if records is None:
        raise ConfigError(f"{loaded.directory}: the run held no records out; name some with --data")
    return HeldOut(records=records, source=f"held out by the run{whose}: {population.source}")


def _of_data_set(loaded: LoadedModel, name: str, folder: Path | None) -> HeldOut:
    found = load_data_set(DataConfig(dataset=name, folder=None if folder is None else str(folder)))
    if list(found.shape) != loaded.signature.shape or found.classes != loaded.signature.classes:
        raise DataError(
            f"data set {name!r} has records of shape {list(found.shape)} in {found.classes} classes,"
            f" the model takes {loaded.signature.shape} in {loaded.signature.classes}"
        )
    train, test = found.records.split()
    part = test or train
    which = "its held-out records" if test is not None else "all records"
    records = _tensors(loaded, part.inputs, part.targets)
    return HeldOut(records=records, source=f"{name}, {which}: {found.source}")


def _of_files(loaded: LoadedModel, files: list[Path], target: str, as_is: bool) -> HeldOut:
    parts = [read_records(file, loaded.signature, target=target) for file in files]
    inputs = np.concatenate([part.inputs for part in parts])
    targets = np.concatenate([part.targets for part in parts if part.targets is not None])
    source = ", ".join(map(str, files))
    if len(inputs) == 0:
        raise DataError(f"{source}: no records")
    return HeldOut(records=_tensors(loaded, inputs, targets, as_is=as_is), source=source)


def _tensors(
    loaded: LoadedModel, inputs: NDArray[Any], targets: NDArray[np.int64], *, as_is: bool = False
) -> TensorDataset:
    """Returns the records as the trained module takes them."""
    scale = loaded.scale(as_is=as_is)
    return TensorDataset(
        torch.from_numpy(inputs if scale is None else scale.apply(inputs)), torch.from_numpy(targets)
    )
