"""What every partition must hold: enough records, and some for every client."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedlearn.errors import ConfigError, DataError


def check_enough(records: int, clients: int, *, each: int, kind: str) -> None:
    """Checks that there are clients, and ``each`` records for every one.

    Raises:
      ConfigError: fewer than one client, or ``each`` below 1.
      DataError: fewer than ``clients · each`` records.
    """
    if clients < 1 or each < 1:
        raise ConfigError(f"{kind}: clients={clients} and the records for each, {each}, must be at least 1")
    if records < clients * each:
        raise DataError(
            f"{kind}: {records} records are too few for {clients} clients with at least {each} each"
            f" ({clients * each}); lower clients or the minimum"
        )


def check_no_empty(parts: Sequence[NDArray[np.int64]], *, kind: str) -> None:
    """Raises DataError if a client has no record."""
    for number, part in enumerate(parts):
        if len(part) == 0:
            raise DataError(f"{kind}: client {number} has 0 records, at least 1 is needed; lower clients")
