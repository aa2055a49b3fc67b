"""Records, and the data sets they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fedlearn.data.standardise import Standardisation
from fedlearn.errors import DataError

Kind = Literal["tabular", "image", "text"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Records:
    """Some records of a data set, in a fixed order.

    Attributes:
      inputs: shape (n, …): float32 values, or int64 tokens.
      targets: shape (n,), int64: the class of each record.
      owners: shape (n,), str: the natural client of each record (hospital, person, role); or None.
      is_test: shape (n,), bool: the part that the data set itself holds out; or None.

    Raises:
      DataError: a column has another length or dtype.
    """

    inputs: NDArray[Any]
    targets: NDArray[np.int64]
    owners: NDArray[np.str_] | None = None
    is_test: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if self.inputs.dtype not in (np.dtype(np.float32), np.dtype(np.int64)):
            raise DataError(f"inputs are {self.inputs.dtype}, not float32 values or int64 tokens")
        if self.targets.dtype != np.int64 or self.targets.ndim != 1:
            raise DataError(f"targets are {self.targets.dtype}{list(self.targets.shape)}, not int64[n]")
        columns = {"targets": self.targets, "owners": self.owners, "is_test": self.is_test}
        for name, column in columns.items():
            if column is not None and len(column) != len(self.inputs):
                raise DataError(f"{name} has {len(column)} entries for {len(self.inputs)} records")

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, indices: NDArray[np.int64] | NDArray[np.bool_]) -> Records:
        """Returns the records at the indices (or where a mask is true), in that order; copies."""
        return Records(
            inputs=self.inputs[indices],
            targets=self.targets[indices],
            owners=None if self.owners is None else self.owners[indices],
            is_test=None if self.is_test is None else self.is_test[indices],
        )

    def split(self) -> tuple[Records, Records | None]:
        """Returns the training part and the part that the data set itself holds out, if it does."""
        if self.is_test is None:
            return self, None
        return self.take(~self.is_test), self.take(self.is_test)


@dataclass(frozen=True, kw_only=True, eq=False)
class DataSet:
    """Records and what is publicly known about them.

    Attributes:
      name: the word it is registered under.
      records: all of them, training and held-out.
      classes: number of classes; targets lie in [0, classes).
      shape: of one record: (features,), (channels, height, width) or (length,).
      kind: ``tabular``, ``image`` or ``text``.
      licence: under which the records may be used.
      source: where they come from, as one would cite it.
      scale: constants that standardise the inputs, from published or clinical ranges and not
        from the records; None if the inputs are in a public unit already.
      vocabulary: number of distinct tokens of a text; None for others.
      features: the public name of each value of a row; None if they have none.

    Raises:
      DataError: a record has another shape, a target no class or a token no place in the vocabulary.
    """

    name: str
    records: Records
    classes: int
    shape: tuple[int, ...]
    kind: Kind
    licence: str
    source: str
    scale: Standardisation | None = None
    vocabulary: int | None = None
    features: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        held = self.records.inputs.shape[1:]
        if held != self.shape:
            raise DataError(f"{self.name}: records have shape {held}, not shape={self.shape}")
        if self.features is not None and (len(self.features),) != self.shape:
            raise DataError(f"{self.name}: {len(self.features)} names for records of shape {self.shape}")
        self._check_range("targets", self.records.targets, self.classes)
        if self.vocabulary is not None:
            self._check_range("tokens", self.records.inputs, self.vocabulary)

    def _check_range(self, name: str, values: NDArray[Any], bound: int) -> None:
        if values.size and not (values.min() >= 0 and values.max() < bound):
            raise DataError(
                f"{self.name}: {name} lie in [{values.min()}, {values.max()}], not in [0, {bound - 1}]"
            )
