"""Who holds which records: the clients of an experiment and the held-out test set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import ConcatDataset, TensorDataset

from fedlearn.config import DataConfig
from fedlearn.data import DATASETS
from fedlearn.data.checks import Finding, check_finite, check_records, check_targets
from fedlearn.data.partition import partition
from fedlearn.data.records import DataSet, Records
from fedlearn.data.scarcity import few_labels, few_records, missing_features
from fedlearn.data.standardise import Standardisation, constants
from fedlearn.errors import ConfigError, DataError
from fedlearn.experiment.virtual import Computed, Names, VirtualClients
from fedlearn.registry import check_arguments
from fedlearn.training.batches import Deferred, RecordSet, size_of


@dataclass(frozen=True, kw_only=True, eq=False)
class ClientData:
    """What one client holds.

    Attributes:
      train: its training records.
      test: its held-out records; None if it holds none.
      size: number of training records; private.
      declared_size: the public number from which weights and mechanisms derive.
      unlabelled: its training records without a label, whose targets mean nothing; None if it has none.
      validation: training records that the federation does not see, for choices of the client's own; None
        if none are set aside.
    """

    train: RecordSet = field(repr=False)
    test: RecordSet | None = field(repr=False)
    size: int
    declared_size: int
    unlabelled: RecordSet | None = field(default=None, repr=False)
    validation: RecordSet | None = field(default=None, repr=False)

    @property
    def everything(self) -> RecordSet:
        """Training and validation records."""
        return self.train if self.validation is None else joined([self.train, self.validation])


V = TypeVar("V")


class VirtualData(Computed[ClientData]):
    """What each of many virtual clients holds; nothing is made before it is read.

    Args:
      clients: the clients.
      declared: client id → its declared size, where it is not the true one.
    """

    def __init__(self, clients: VirtualClients, declared: Callable[[str, int], int]) -> None:
        super().__init__(clients, self._data)
        self.names = clients.names
        self._clients = clients
        self._declared = declared

    def largest_size(self) -> int:
        """Returns the largest declared size."""
        size = self._clients.size
        if isinstance(size, int):
            return self._declared(self.names[0], size)
        return max(self._declared(name, size(index)) for index, name in enumerate(self.names))

    def _data(self, name: str) -> ClientData:
        index = self.names.index(name)
        size = self._clients.size_of(index)
        records = Deferred(name, lambda: self._clients.records(index), size)
        return ClientData(train=records, test=None, size=size, declared_size=self._declared(name, size))


@dataclass(frozen=True, kw_only=True, eq=False)
class Population:
    """All clients of an experiment.

    Attributes:
      clients: client id → what it holds, in the order of their ids.
      test: the held-out records of all clients, or a test set of its own; None if there is none.
      shape: of one record; None for data sets given as objects.
      classes: number of classes; None for data sets given as objects.
      vocabulary: number of tokens of a text; None for others.
      scale: the public constants that inputs are standardised by before training, where the experiment
        asks for them; None if there are none, and where they are not known here.
      features: the public name of each value of a row; None if they have none.
      source: where the records come from.
      findings: what training survives and its owner should know.
      unseen: clients that take no part in the federation, and what they hold.
    """

    clients: Mapping[str, ClientData]
    test: RecordSet | None = field(repr=False)
    shape: tuple[int, ...] | None = None
    classes: int | None = None
    vocabulary: int | None = None
    scale: Standardisation | None = None
    features: tuple[str, ...] | None = None
    source: str = "given as objects"
    findings: tuple[Finding, ...] = ()
    unseen: Mapping[str, ClientData] = field(default_factory=dict)

    @cached_property
    def names(self) -> Sequence[str]:
        """The ids of all clients, sorted."""
        return self.clients.names if isinstance(self.clients, VirtualData) else sorted(self.clients)

    def position_of(self, name: str) -> int:
        """Returns a client's place among the sorted names; raises KeyError for an unknown one."""
        names = self.names
        return names.index(name) if isinstance(names, Names) else self._positions[name]

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {name: position for position, name in enumerate(self.names)}

    @cached_property
    def record_shape(self) -> tuple[int, ...]:
        """The shape of one record's inputs: as the data set says, or as the first record has it."""
        if self.shape is not None:
            return self.shape
        first = next(data.train for data in self.clients.values() if data.size)
        return tuple(torch.as_tensor(first[0][0]).shape)

    @property
    def virtual(self) -> bool:
        """Whether clients are described and not held: nothing is kept of an idle one."""
        return isinstance(self.clients, VirtualData)

    @cached_property
    def largest_declared_size(self) -> int:
        """The largest declared size of a client."""
        if isinstance(self.clients, VirtualData):
            return self.clients.largest_size()
        return max(client.declared_size for client in self.clients.values())

    def for_each(self, value: Callable[[str], V]) -> Mapping[str, V]:
        """Returns client → value: computed now, or when it is read if the clients are virtual."""
        if self.virtual:
            return Computed(self.clients, value)
        return {name: value(name) for name in self.clients}

    def pooled(self) -> RecordSet:
        """Returns the training records of all clients in one data set; for the pooled baseline only."""
        return joined([client.everything for client in self.clients.values()])


def load_data_set(config: DataConfig) -> DataSet:
    """Returns the data set that the configuration names.

    Raises:
      ConfigError: no such data set, or an argument that it does not take.
      DataError: its files are missing or malformed; says where to get them.
    """
    if config.dataset is None:
        raise ConfigError("data.dataset is missing: name a data set, or give the clients as objects")
    folder = None if config.folder is None else Path(config.folder).expanduser()
    data_set: DataSet = DATASETS.build(config.dataset, config.arguments, folder=folder)
    return data_set


def check_data_set_name(config: DataConfig) -> None:
    """Raises ConfigError for an unknown data set or argument, without loading anything."""
    if config.dataset is not None:
        loader = DATASETS.resolve(config.dataset)
        label = f"data set {config.dataset!r}"
        check_arguments(loader, config.arguments, label=label, given=frozenset({"folder"}))


def from_data_set(
    data_set: DataSet, config: DataConfig, *, seed: int, batch_size: int | None = None
) -> Population:
    """Returns the population that deals a data set to clients and holds out each one's test part.

    Args:
      data_set: the records.
      config: partition, test fraction, standardisation and declared sizes.
      seed: fixes partition and split; the same on every engine.
      batch_size: of training; a client with fewer records is a finding.

    Raises:
      DataError: a client is left without training records, or a record is not finite.
    """
    rng = np.random.default_rng([seed, 0])
    records = data_set.records
    parts = partition(
        records,
        kind=config.partition.kind,
        clients=config.partition.clients,
        rng=rng,
        arguments=config.partition.arguments,
    )
    clients: dict[str, ClientData] = {}
    findings: list[Finding] = []
    for name, indices in sorted(parts.items()):
        held = records.take(indices)
        findings += check_records(held, client=name, classes=data_set.classes, batch_size=batch_size)
        clients[name] = _client(name, held, data_set, config, rng)
    held_out = [client.test for client in clients.values() if client.test is not None]
    return Population(
        clients=clients,
        test=joined(held_out) if held_out else None,
        shape=data_set.shape,
        classes=data_set.classes,
        vocabulary=data_set.vocabulary,
        scale=data_set.scale if config.standardise in {"public", "federated"} else None,
        features=data_set.features,
        source=f"{data_set.name}: {data_set.source}",
        findings=tuple(findings),
    )


HeldOut: TypeAlias = RecordSet | Mapping[str, RecordSet] | None
"""Held-out records: common ones, or those of each client."""


def from_objects(clients: Mapping[str, RecordSet], test: HeldOut, config: DataConfig) -> Population:
    """Returns the population of data sets given as objects, one per client.

    Args:
      clients: client → its training records.
      test: common held-out records, or client → its own.
      config: declared sizes.

    Raises:
      ConfigError: no client, or one without a declared size.
      DataError: a data set is empty, has no length, or holds a record that is not finite.
    """
    if not clients:
        raise ConfigError("clients is empty: give at least one data set")
    own: Mapping[str, RecordSet] = test if isinstance(test, Mapping) else {}
    common = None if isinstance(test, Mapping) else test
    for name, records in {**own, **({} if common is None else {"test": common})}.items():
        size_of(records, client=name)
        _check_tensors(records, name)
    if isinstance(clients, VirtualClients):
        return Population(clients=VirtualData(clients, partial(_declared, config)), test=common)
    if own and not own.keys() <= clients.keys():
        strange = sorted(own.keys() - clients.keys())
        raise ConfigError(f"test has records of {', '.join(strange)}, which are no clients")
    held = {}
    for name in sorted(clients):
        size = size_of(clients[name], client=name)
        _check_tensors(clients[name], name)
        declared = _declared(config, name, size)
        held[name] = ClientData(train=clients[name], test=own.get(name), size=size, declared_size=declared)
    return Population(clients=held, test=common)


def _check_tensors(records: RecordSet, name: str) -> None:
    """Checks records that lie in memory; others are met one batch at a time."""
    if isinstance(records, TensorDataset):
        if len(records.tensors) != 2:
            raise DataError(
                f"client {name!r}: {len(records.tensors)} tensors in a record; give (inputs, targets)"
            )
        inputs, targets = records.tensors
        check_finite(inputs.numpy(), client=name)
        if targets.is_floating_point():
            check_finite(targets.numpy(), client=name)
        else:
            check_targets(targets.flatten().numpy(), classes=2**31, client=name)


def _client(
    name: str, records: Records, data_set: DataSet, config: DataConfig, rng: np.random.Generator
) -> ClientData:
    records = _without_features(records, data_set, config, rng)
    is_test = records.is_test if records.is_test is not None else _held_out(records, config, rng)
    train, unlabelled = _thinned(records.take(~is_test), name, config, rng)
    test = records.take(is_test)
    if len(train) == 0:
        raise DataError(f"client {name!r} has no training records; use fewer clients or a milder partition")
    scale = constants(config.standardise, inputs=train.inputs, public=data_set.scale)
    tensors = [
        TensorDataset(
            torch.from_numpy(part.inputs if scale is None else scale.apply(part.inputs)),
            torch.from_numpy(part.targets),
        )
        for part in (train, test, unlabelled)
    ]
    return ClientData(
        train=tensors[0],
        test=tensors[1] if len(test) else None,
        size=len(train),
        declared_size=_declared(config, name, len(train)),
        unlabelled=tensors[2] if len(unlabelled) else None,
    )


def _without_features(
    records: Records, data_set: DataSet, config: DataConfig, rng: np.random.Generator
) -> Records:
    fraction = config.scarcity.missing_features
    if fraction == 0:
        return records
    fill = 0.0 if data_set.scale is None else data_set.scale.center
    return missing_features(records, fraction=fraction, rng=rng, fill=fill)


def _thinned(
    train: Records, name: str, config: DataConfig, rng: np.random.Generator
) -> tuple[Records, Records]:
    """Returns the training records that scarcity leaves, labelled and not; held-out ones stay as they are."""
    scarcity = config.scarcity
    if scarcity.records_per_client is not None:
        train = few_records(train, keep=scarcity.records_per_client, client=name, rng=rng)
    if scarcity.labelled_fraction < 1 and len(train):
        return few_labels(train, fraction=scarcity.labelled_fraction, rng=rng)
    return train, train.take(np.zeros(len(train), dtype=np.bool_))


def _held_out(records: Records, config: DataConfig, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Returns a mask of the test part: of each class its share, rounded by a coin of the right bias."""
    mask = np.zeros(len(records), dtype=np.bool_)
    for label in np.unique(records.targets):
        members = rng.permutation(np.flatnonzero(records.targets == label))
        share = config.test_fraction * len(members)
        count = int(share) + int(rng.random() < share % 1)
        mask[members[: min(count, len(members) - 1)]] = True
    return mask


def _declared(config: DataConfig, name: str, size: int) -> int:
    declared = config.declared_size
    if isinstance(declared, dict):
        if name not in declared:
            raise ConfigError(f"data.declared_size has no entry for client {name!r}")
        declared = declared[name]
    if declared is None:
        return size
    if declared < 1:
        raise ConfigError(f"data.declared_size={declared} of client {name!r} must be at least 1")
    return declared


def joined(parts: Iterable[RecordSet]) -> RecordSet:
    """Returns one data set of all records; tensors are joined, others chained."""
    parts = list(parts)
    if all(isinstance(part, TensorDataset) for part in parts):
        columns = zip(*(part.tensors for part in parts if isinstance(part, TensorDataset)), strict=True)
        return TensorDataset(*(torch.cat(column) for column in columns))
    return ConcatDataset(parts)
