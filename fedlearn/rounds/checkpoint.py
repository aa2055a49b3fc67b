"""A run's state after a round, in one file that is either whole or not there."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as parse_safetensors
from safetensors.numpy import save as to_safetensors

from fedlearn.errors import RunDirectoryError


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Everything that a run needs to go on as if it had not stopped.

    Attributes:
      rounds: number of rounds completed.
      experiment: SHA-256 of the resolved experiment, hex; a checkpoint of another is refused.
      arrays: the algorithm's state by name.
      record: what else there is, as JSON: rounds so far, accounts.
    """

    rounds: int
    experiment: str
    arrays: Mapping[str, NDArray[Any]] = field(repr=False)
    record: Mapping[str, Any] = field(repr=False)

    def save(self, path: Path) -> None:
        """Writes the checkpoint; a crash at any instant leaves the old one or the new one.

        Raises:
          RunDirectoryError: the folder is not writable or the disk is full.
        """
        header = {"rounds": self.rounds, "experiment": self.experiment, "record": self.record}
        arrays = {"header": np.frombuffer(json.dumps(header).encode(), dtype=np.uint8), **self.arrays}
        write_atomically(path, to_safetensors(arrays))

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Returns the checkpoint in a file.

        Raises:
          RunDirectoryError: there is none, or it does not parse.
        """
        try:
            arrays = parse_safetensors(path.read_bytes())
            header = json.loads(arrays.pop("header").tobytes())
            return cls(
                rounds=int(header["rounds"]),
                experiment=str(header["experiment"]),
                arrays=arrays,
                record=dict(header["record"]),
            )
        except OSError as error:
            raise RunDirectoryError(f"no checkpoint to resume from: {path}: {error.strerror}") from None
        except (SafetensorError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise RunDirectoryError(f"{path} is not a checkpoint: {error}") from None


def write_atomically(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Writes a file whole or not at all, and flushes it to the disk if it must be durable.

    Raises:
      RunDirectoryError: the folder is not writable or the disk is full; the old file stays.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise RunDirectoryError(
            f"{path} cannot be written: {error.strerror}; free space or choose another folder with --out"
        ) from None
