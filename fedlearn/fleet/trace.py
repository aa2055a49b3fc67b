"""A fleet read from a file: one row for each client, by a strict schema.

CSV has a header of exactly these columns, in any order; JSON is a list of objects with these keys:

- ``client``: the client's id, once in the file.
- ``records_per_second``, ``upload_bytes_per_second``, ``download_bytes_per_second``: finite, above 0.
- ``online``: when it can be reached, in seconds from the start of the run: in CSV ``0-3600 7200-10800``, in
  JSON ``[[0, 3600], [7200, 10800]]``; in order, without overlap. Empty or missing: always.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

from fedlearn.errors import DataError
from fedlearn.fleet.pace import ALWAYS, Pace, Window
from fedlearn.registry import nearest

MOST_BYTES: Final = 256 * 2**20
MOST_CLIENTS: Final = 1_000_000
MOST_WINDOWS: Final = 10_000

_SPEEDS = ("records_per_second", "upload_bytes_per_second", "download_bytes_per_second")
_REQUIRED = ("client", *_SPEEDS)
_COLUMNS = (*_REQUIRED, "online")


@dataclass(frozen=True, kw_only=True)
class TraceFleet:
    """Clients as they were recorded.

    Attributes:
      paces: client → its pace.
      windows: client → when it is online; a client that is missing here always is.
      repeats: seconds after which the recorded windows start again, at least their last end; None: a client
        is offline once its last window is over.
    """

    paces: Mapping[str, Pace] = field(repr=False)
    windows: Mapping[str, tuple[Window, ...]] = field(default_factory=dict, repr=False)
    repeats: float | None = None

    def __post_init__(self) -> None:
        last = max((windows[-1][1] for windows in self.windows.values()), default=0.0)
        if self.repeats is not None and self.repeats < last:
            raise DataError(
                f"fleet.trace_repeats={self.repeats:g} is before the end of the trace at {last:g} seconds;"
                " set at least that"
            )

    def pace(self, client: str) -> Pace:
        """Returns the recorded pace; raises DataError for a client that is not in the trace."""
        try:
            return self.paces[client]
        except KeyError:
            raise DataError(f"the trace has no client {client!r}: add a row for it") from None

    def online(self, client: str, since: float) -> Iterator[Window]:
        """Yields the recorded windows, again and again if they repeat."""
        recorded = self.windows.get(client, (ALWAYS,))
        if self.repeats is None or recorded == (ALWAYS,):
            shifts: Iterable[float] = (0.0,)
        else:
            shifts = (self.repeats * turn for turn in count(int(since // self.repeats)))
        for shift in shifts:
            for start, end in recorded:
                if shift + end > since:
                    yield shift + start, shift + end

    def check_covers(self, clients: Iterable[str], *, source: str) -> None:
        """Raises DataError unless every client is in the trace; names the first that is not."""
        missing = [client for client in clients if client not in self.paces]
        if missing:
            others = f" and {len(missing) - 1} others" if len(missing) > 1 else ""
            raise DataError(
                f"{source} has {len(self.paces)} clients, but not {missing[0]!r}{others}: add a row for each"
                " client of the experiment, or leave out fleet.trace"
            )


def read_trace(path: str | Path, *, repeats: float | None = None) -> TraceFleet:
    """Returns the fleet in a CSV or JSON file.

    Raises:
      DataError: it cannot be read, is too large, or breaks the schema; names row, value and bound.
    """
    path = Path(path)
    rows = _json_rows if path.suffix == ".json" else _csv_rows
    paces: dict[str, Pace] = {}
    windows: dict[str, tuple[Window, ...]] = {}
    for number, row in rows(_text_of(path), str(path)):
        where = f"{path}, client {number}"
        client = row["client"]
        if not isinstance(client, str) or not 0 < len(client) <= 128:
            raise DataError(f"{where}: client={client!r} must be a text of 1 to 128 characters")
        if client in paces:
            raise DataError(f"{where}: client {client!r} is there twice; leave one row")
        if len(paces) >= MOST_CLIENTS:
            raise DataError(f"{path} has more than {MOST_CLIENTS} clients; split the population")
        paces[client] = Pace(**{name: _speed(row[name], name, where) for name in _SPEEDS})
        if online := row.get("online"):
            windows[client] = _windows(online, where)
    return TraceFleet(paces=paces, windows=windows, repeats=repeats)


def _text_of(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise DataError(f"{path} has {size} bytes; a trace may have {MOST_BYTES}")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"fleet.trace: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text at byte {error.start}") from None


def _csv_rows(text: str, path: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        reader = csv.DictReader(io.StringIO(text), strict=True)
        _check_columns(reader.fieldnames or (), path)
        for number, row in enumerate(reader, start=1):
            if None in row or None in row.values():
                raise DataError(f"{path}, client {number}: not as many cells as the header has columns")
            yield number, {**row, "online": [cell.split("-") for cell in row.get("online", "").split()]}
    except csv.Error as error:
        raise DataError(f"{path} is not valid CSV: {error}") from None


def _json_rows(text: str, path: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path} must be a list of objects, one for each client")
    for number, row in enumerate(rows, start=1):
        _check_columns(row, f"{path}, client {number}")
        yield number, row


def _check_columns(found: Iterable[str], where: str) -> None:
    found = list(found)
    for name in found:
        if name not in _COLUMNS:
            known = list(_COLUMNS)
            raise DataError(
                f"{where}: unknown column {name!r}.{nearest(name, known)} Columns: {', '.join(known)}"
            )
    if len(set(found)) < len(found):
        raise DataError(f"{where}: a column is there twice")
    if missing := [name for name in _REQUIRED if name not in found]:
        raise DataError(f"{where}: column {missing[0]!r} is missing; there must be {', '.join(_REQUIRED)}")


def _number(value: object, what: str, where: str) -> float:
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError
        return float(value)
    except (ValueError, OverflowError):
        raise DataError(f"{where}: {what}={value!r} is not a number") from None


def _speed(value: object, name: str, where: str) -> float:
    speed = _number(value, name, where)
    if not (math.isfinite(speed) and speed > 0):
        raise DataError(
            f"{where}: {name}={value} must be finite and above 0; leave out a client that is dead"
        )
    return speed


def _windows(online: object, where: str) -> tuple[Window, ...]:
    if not isinstance(online, list) or len(online) > MOST_WINDOWS:
        raise DataError(f"{where}: online must be a list of at most {MOST_WINDOWS} pairs [start, end]")
    windows: list[Window] = []
    for pair in online:
        if not isinstance(pair, list) or len(pair) != 2:
            raise DataError(f"{where}: {pair!r} in online is no pair of start and end")
        start, end = (_number(value, "online", where) for value in pair)
        if not (windows[-1][1] if windows else 0.0) <= start < end < math.inf:
            raise DataError(
                f"{where}: window {start:g}-{end:g} in online must start at 0 or later, after the one before"
                " it, and end after its start"
            )
        windows.append((start, end))
    return tuple(windows)
