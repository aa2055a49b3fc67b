"""What the federation does not see: validation records of its clients, and clients that take no part."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Subset, TensorDataset

from fedlearn.config import ExperimentConfig
from fedlearn.errors import ConfigError
from fedlearn.experiment.population import ClientData, Population, joined
from fedlearn.training.batches import RecordSet

_VALIDATION, _UNSEEN = 7, 8
"""Streams of the experiment's seed."""


def reserve(population: Population, config: ExperimentConfig, *, own_test: bool) -> Population:
    """Returns the population of the federation, with what it does not see set aside.

    Args:
      population: all clients and all their training records.
      config: the experiment.
      own_test: whether the common test set is one of its own, and not made of the clients' held-out records.

    Raises:
      ConfigError: virtual clients, or as many strangers as there are clients.
    """
    if population.virtual:
        _refuse_virtual(config)
        return population
    if config.data.unseen_clients:
        population = _without_strangers(population, config, own_test=own_test)
    if config.personalisation.enabled:
        population = replace(
            population,
            clients={name: _validating(name, data, config) for name, data in population.clients.items()},
        )
    return population


def _refuse_virtual(config: ExperimentConfig) -> None:
    for key, asked in (
        ("personalisation.enabled", config.personalisation.enabled),
        ("data.unseen_clients", config.data.unseen_clients > 0),
    ):
        if asked:
            raise ConfigError(
                f"{key} with virtual clients: their records are made for each use and none can be set aside;"
                " give the clients as data sets"
            )


def _without_strangers(population: Population, config: ExperimentConfig, *, own_test: bool) -> Population:
    wanted, names = config.data.unseen_clients, sorted(population.clients)
    if wanted >= len(names):
        raise ConfigError(
            f"data.unseen_clients={wanted} of {len(names)} clients leaves nobody to train; lower it"
        )
    rng = np.random.default_rng([config.seed, _UNSEEN])
    strangers = {names[index] for index in rng.choice(len(names), size=wanted, replace=False)}
    clients = {name: data for name, data in population.clients.items() if name not in strangers}
    held_out = [data.test for data in clients.values() if data.test is not None]
    return replace(
        population,
        clients=clients,
        unseen={name: population.clients[name] for name in sorted(strangers)},
        test=population.test if own_test else (joined(held_out) if held_out else None),
    )


def _validating(name: str, data: ClientData, config: ExperimentConfig) -> ClientData:
    """Returns a client whose validation records are set aside; one with a single record has none."""
    rng = np.random.default_rng([config.seed, _VALIDATION, *name.encode()])
    chosen = _share_of_each_class(data, config.personalisation.validation_fraction, rng)
    if not chosen.any():
        return data
    size = int(np.count_nonzero(~chosen))
    return replace(
        data,
        train=_taken(data.train, ~chosen),
        validation=_taken(data.train, chosen),
        size=size,
        declared_size=size if config.data.declared_size is None else data.declared_size,
    )


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One of the ways in which a client's records are split to choose by.

    Attributes:
      train: what a candidate is trained on.
      validation: what it is judged on.
    """

    train: RecordSet
    validation: RecordSet


def folds(name: str, data: ClientData, config: ExperimentConfig) -> list[Fold]:
    """Returns splits of a client's training records, each record judged on in one of them.

    As many as ``validation_fraction`` fits into one, at least two, with the classes spread over them evenly.
    The only record of its class is trained on in all: no candidate could know the class without it.
    """
    count = max(2, round(1 / config.personalisation.validation_fraction))
    rng = np.random.default_rng([config.seed, _VALIDATION, *name.encode()])
    labels, fold = _labels(data), np.full(data.size, -1)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        if len(members) > 1:
            fold[members] = (rng.integers(count) + np.arange(len(members))) % count
    return [
        Fold(train=_taken(data.train, fold != part), validation=_taken(data.train, fold == part))
        for part in range(count)
        if (fold == part).any()
    ]


def _share_of_each_class(data: ClientData, fraction: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Returns a mask of the records to set aside; at least one of each class stays."""
    labels = _labels(data)
    mask = np.zeros(data.size, dtype=np.bool_)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        share = fraction * len(members)
        count = int(share) + int(rng.random() < share % 1)
        mask[members[: min(count, len(members) - 1)]] = True
    return mask


def _labels(data: ClientData) -> NDArray[np.int64]:
    """Returns the class of each training record; one class for all where there are none to read."""
    if isinstance(data.train, TensorDataset):
        targets = data.train.tensors[1]
        if targets.ndim == 1 and not targets.is_floating_point():
            found: NDArray[np.int64] = targets.numpy()
            return found
    return np.zeros(data.size, dtype=np.int64)


def _taken(records: RecordSet, mask: NDArray[np.bool_]) -> RecordSet:
    indices = np.flatnonzero(mask)
    if isinstance(records, TensorDataset):
        chosen = torch.from_numpy(indices)
        return TensorDataset(*(tensor.index_select(0, chosen) for tensor in records.tensors))
    return Subset(records, indices.tolist())
