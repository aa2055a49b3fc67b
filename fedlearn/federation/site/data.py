"""A site's own records, and the population as a site knows it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch.utils.data import TensorDataset

from fedlearn.config import ExperimentConfig, PartitionConfig
from fedlearn.data import DATASETS
from fedlearn.data.records import DataSet
from fedlearn.errors import ConfigError, DataError
from fedlearn.experiment.population import ClientData, Population, from_data_set
from fedlearn.federation.private_files import check_folder
from fedlearn.federation.site.config import SiteConfig
from fedlearn.federation.terms import Schema
from fedlearn.training.batches import RecordSet


class SiteData:
    """The records of one site, loaded once.

    Args:
      config: the site.

    Raises:
      UnsafeFile: the folder holds a link.
      DataError: records are missing or malformed.
      ConfigError: no such source, or an argument that it does not take.
    """

    def __init__(self, config: SiteConfig) -> None:
        section = config.data
        folder = None if section.folder is None else config.path(section.folder)
        if folder is not None:
            check_folder(folder)
        self._site = config.site
        self._section = section
        self._data_set: DataSet = DATASETS.build(section.source, section.arguments, folder=folder)

    @property
    def schema(self) -> Schema:
        """What the records look like."""
        data_set = self._data_set
        return Schema(shape=data_set.shape, classes=data_set.classes, vocabulary=data_set.vocabulary)

    def held(self, experiment: ExperimentConfig) -> ClientData:
        """Returns the site's records as the experiment splits and scales them.

        Raises:
          DataError: the experiment's partition deals this site nothing, or no training record is left.
          ConfigError: the site declares no size.
        """
        if self._section.share == "dealt":
            return self._dealt(experiment)
        if self._section.declared_size is None:
            raise ConfigError("data.declared_size is missing: a site's public number of training records")
        whole = experiment.data.model_copy(
            update={
                "partition": PartitionConfig(kind="iid", clients=1),
                "declared_size": self._section.declared_size,
            }
        )
        population = from_data_set(
            self._data_set, whole, seed=experiment.seed, batch_size=experiment.training.batch_size
        )
        return next(iter(population.clients.values()))

    def _dealt(self, experiment: ExperimentConfig) -> ClientData:
        population = from_data_set(
            self._data_set, experiment.data, seed=experiment.seed, batch_size=experiment.training.batch_size
        )
        if self._site not in population.clients:
            known = ", ".join(list(population.clients)[:8])
            raise DataError(f"the experiment deals records to {known}; site {self._site!r} gets none")
        return population.clients[self._site]


def population_of(
    sizes: Mapping[str, int],
    schema: Schema,
    *,
    held: Mapping[str, ClientData] | None = None,
    test: RecordSet | None = None,
) -> Population:
    """Returns a population of which only some clients' records are here.

    Args:
      sizes: site → declared size.
      schema: what records look like.
      held: the clients whose records are here.
      test: a common test set, if there is one here.
    """
    here = held or {}
    clients = {name: here.get(name) or _elsewhere(size) for name, size in sorted(sizes.items())}
    return Population(
        clients=clients,
        test=test,
        shape=schema.shape,
        classes=schema.classes,
        vocabulary=schema.vocabulary,
        source="held by the sites",
    )


def _elsewhere(declared_size: int) -> ClientData:
    nothing = TensorDataset(torch.empty(0), torch.empty(0, dtype=torch.int64))
    return ClientData(train=nothing, test=None, size=0, declared_size=declared_size)


def data_folder(config: SiteConfig) -> Path | None:
    """Returns the folder of the site's records; None for a source without files."""
    return None if config.data.folder is None else config.path(config.data.folder)
