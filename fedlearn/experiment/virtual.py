"""Populations too large to hold: clients that a function describes, made when they are needed.

>>> import torch
>>> from torch.utils.data import TensorDataset
>>> def records(index):
...     return TensorDataset(torch.full((20, 3), float(index)), torch.zeros(20, dtype=torch.int64))
>>> million = VirtualClients(count=1_000_000, records=records, size=20)
>>> len(million), million["client-000007"][0][0].tolist()
(1000000, [7.0, 7.0, 7.0])
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, overload

from fedlearn.errors import ConfigError
from fedlearn.training.batches import RecordSet

V = TypeVar("V")


@dataclass(frozen=True, kw_only=True, eq=False)
class VirtualClients(Mapping[str, RecordSet]):
    """Clients described by functions of their index; an idle one takes no memory.

    Attributes:
      count: number of clients, at least 1.
      records: index → the client's data set; called anew in each round that the client takes part in,
        so it must give the same records each time.
      size: number of records, of each client or by index; public, as every mechanism derives from it.
    """

    count: int
    records: Callable[[int], RecordSet]
    size: int | Callable[[int], int]

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ConfigError(f"count={self.count} virtual clients; at least 1 is needed")

    @property
    def names(self) -> Names:
        """The ids of all clients, in order."""
        return Names(self.count)

    def size_of(self, index: int) -> int:
        """Returns the number of records of a client."""
        return self.size(index) if callable(self.size) else self.size

    def __getitem__(self, name: str) -> RecordSet:
        return self.records(self.names.index(name))

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return self.count


class Names(Sequence[str]):
    """``client-000000`` upwards: a sorted sequence of ids that are made when they are read.

    Args:
      count: how many.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._digits = len(str(count - 1))

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self._name(i) for i in range(*index.indices(self._count))]
        if not -self._count <= index < self._count:
            raise IndexError(index)
        return self._name(index % self._count)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._parsed(name) is not None

    def index(self, name: str, start: int = 0, stop: int | None = None) -> int:
        """Returns the index of an id; raises KeyError for any other text."""
        found = self._parsed(name)
        if found is None or not start <= found < (self._count if stop is None else stop):
            raise KeyError(name)
        return found

    def _name(self, index: int) -> str:
        return f"client-{index:0{self._digits}d}"

    def _parsed(self, name: str) -> int | None:
        digits = name.removeprefix("client-")
        if not (digits.isascii() and digits.isdigit()):
            return None
        index = int(digits)
        return index if index < self._count and self._name(index) == name else None


class Computed(Mapping[str, V]):
    """A value for each client, computed each time that it is read.

    Args:
      names: the clients.
      value: client → its value.
    """

    def __init__(self, names: Mapping[str, object], value: Callable[[str], V]) -> None:
        self._names = names
        self._value = value

    def __getitem__(self, name: str) -> V:
        if name not in self._names:
            raise KeyError(name)
        return self._value(name)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
