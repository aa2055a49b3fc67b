"""Records from a CSV or npz file, checked against the signature of a model.

Files come from outside: their size is bounded, nothing is unpickled, and every value is checked.
"""

from __future__ import annotations

import csv
import math
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedlearn.errors import DataError
from fedlearn.registry import nearest
from fedlearn.runs.signature import Signature

LARGEST_FILE = 2**31
"""Bytes of a file, and of the arrays in it."""
_NAMED = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class FileRecords:
    """The records of a file, in its order.

    Attributes:
      inputs: (n, *shape), float32 or int64, in their public unit.
      ids: what names each record; None if no column does.
      targets: (n,), int64; None if they were not asked for.
    """

    inputs: NDArray[Any] = field(repr=False)
    ids: list[str] | None = field(default=None, repr=False)
    targets: NDArray[np.int64] | None = field(default=None, repr=False)


def read_records(
    path: Path, signature: Signature, *, target: str | None = None, identifier: str | None = None
) -> FileRecords:
    """Returns the records of a file.

    A CSV file has a header. Its columns are the model's features by name, in any order, where they have
    names; else as many columns as a record has values, in their order. An npz file has ``inputs``,
    and ``target`` if it is asked for.

    Args:
      path: ends with ``.csv`` or ``.npz``.
      signature: what the model takes.
      target: column of the class; None: there is none.
      identifier: column that names the records; CSV only.

    Raises:
      DataError: not readable, too large, wrong columns, or a value that the model cannot take; names
        line and column.
    """
    if path.suffix not in {".csv", ".npz"}:
        raise DataError(f"{path} must end with .csv or .npz")
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    if size > LARGEST_FILE:
        raise DataError(f"{path} has {size} bytes, at most {LARGEST_FILE} are read: part it")
    if path.suffix == ".npz":
        if identifier is not None:
            raise DataError(f"{path}: --id names a column of a CSV file")
        return _from_arrays(path, signature, target)
    return _from_csv(path, signature, target, identifier)


def _from_arrays(path: Path, signature: Signature, target: str | None) -> FileRecords:
    try:
        with zipfile.ZipFile(path) as packed:
            unpacked = sum(member.file_size for member in packed.infolist())
        if unpacked > LARGEST_FILE:
            raise DataError(f"{path} unpacks to {unpacked} bytes, at most {LARGEST_FILE} are read")
        with np.load(path, allow_pickle=False) as arrays:
            held = {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is no npz file of plain arrays: {error}") from None
    missing = [name for name in ("inputs", target) if name is not None and name not in held]
    if missing:
        raise DataError(f"{path} has no array {missing[0]!r}; it has {', '.join(sorted(held)) or 'none'}")
    inputs = held["inputs"]
    if inputs.dtype.kind not in "iuf" or list(inputs.shape[1:]) != signature.shape:
        raise DataError(
            f"{path}: inputs are {inputs.dtype}{list(inputs.shape)}, the model takes"
            f" {signature.dtype}[n, {', '.join(map(str, signature.shape))}]"
        )
    targets = None if target is None else _classes(held[target], signature, path)
    if targets is not None and len(targets) != len(inputs):
        raise DataError(f"{path}: {len(targets)} targets for {len(inputs)} records")
    return FileRecords(inputs=_checked(inputs, signature, path), targets=targets)


def _from_csv(path: Path, signature: Signature, target: str | None, identifier: str | None) -> FileRecords:
    rows = _rows(path)
    header = [name.strip() for name in next(rows, [])]
    places = _places(
        header, signature, path, others=[name for name in (target, identifier) if name is not None]
    )
    values, ids, targets = [], [], []
    for line, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise DataError(f"{path}, line {line}: {len(row)} cells under {len(header)} columns")
        values.append([_number(row[place], path, line, header[place]) for place in places])
        if identifier is not None:
            ids.append(row[header.index(identifier)])
        if target is not None:
            targets.append(_number(row[header.index(target)], path, line, target))
    shape = (len(values), *signature.shape)
    inputs = np.array(values, dtype=np.float64).reshape(shape) if values else np.empty(shape)
    return FileRecords(
        inputs=_checked(inputs, signature, path),
        ids=ids if identifier is not None else None,
        targets=None if target is None else _classes(np.array(targets), signature, path),
    )


def _rows(path: Path) -> Iterator[list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from (row for row in csv.reader(file, strict=True) if row)
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no CSV file in UTF-8: {error}") from None


def _places(header: Sequence[str], signature: Signature, path: Path, *, others: Sequence[str]) -> list[int]:
    """Returns where each value of a record stands."""
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f"{path} has two columns {twice[0]!r}")
    absent = [name for name in others if name not in header]
    if absent:
        raise DataError(f"{path} has no column {absent[0]!r}.{nearest(absent[0], list(header))}")
    own = [name for name in header if name not in others]
    if signature.features is None:
        wanted = math.prod(signature.shape)
        if len(own) != wanted:
            raise DataError(f"{path} has {len(own)} columns of values, the model takes {wanted}")
        return [header.index(name) for name in own]
    missing = [name for name in signature.features if name not in own]
    unknown = [name for name in own if name not in signature.features]
    if missing or unknown:
        parts = [
            f"{what} {_named(names)}"
            for what, names in (("lacks", missing), ("has unknown", unknown))
            if names
        ]
        raise DataError(
            f"{path}: the table {' and '.join(parts)}; the model takes {_named(signature.features)}"
        )
    return [header.index(name) for name in signature.features]


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(map(repr, names[:_NAMED]))}{more}"


def _number(text: str, path: Path, line: int, column: str) -> float:
    try:
        value = float(text) if "_" not in text else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{path}, line {line}, column {column!r}: {text[:40]!r} is no finite number")
    return value


def _checked(inputs: NDArray[Any], signature: Signature, path: Path) -> NDArray[Any]:
    if signature.dtype == "float32":
        values = inputs.astype(np.float32)
        if not np.isfinite(values).all():
            raise DataError(f"{path}: record {_first(~np.isfinite(values))} has a value that is not finite")
        return values
    tokens = inputs.astype(np.int64)
    wrong = (tokens != inputs) | (tokens < 0) | (tokens >= (signature.vocabulary or 2**62))
    if wrong.any():
        raise DataError(
            f"{path}: record {_first(wrong)} has a value that is no token below {signature.vocabulary}"
        )
    return tokens


def _classes(values: NDArray[Any], signature: Signature, path: Path) -> NDArray[np.int64]:
    classes = signature.classes or 2**31
    if values.ndim != 1 or values.dtype.kind not in "iuf":
        raise DataError(f"{path}: targets are {values.dtype}{list(values.shape)}, not one class per record")
    labels = values.astype(np.int64)
    wrong = (labels != values) | (labels < 0) | (labels >= classes)
    if wrong.any():
        raise DataError(f"{path}: record {_first(wrong)} has a target that is no class below {classes}")
    return labels


def _first(wrong: NDArray[np.bool_]) -> int:
    """Returns the number of the first record with a wrong value, counted from 1."""
    return int(np.flatnonzero(wrong.reshape(len(wrong), -1).any(axis=1))[0]) + 1
