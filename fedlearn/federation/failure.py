"""How a run that failed inside Flower tells whoever launched it.

``flwr run`` ends with 0 whatever happened to the run (Flower 1.41), so the ServerApp leaves
``failure.json`` in the run directory: error class, message and exit code.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec

from fedlearn import errors
from fedlearn.errors import FedLearnError, RunError

FAILURE = "failure.json"

_log = logging.getLogger(__name__)


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a run failed.

    Attributes:
      error: class name of the error.
      message: its line.
      exit_code: what the command line ends with.
    """

    error: Annotated[str, msgspec.Meta(max_length=128)]
    message: str
    exit_code: Annotated[int, msgspec.Meta(ge=1, le=255)]

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """Returns what there is to tell of an error."""
        code = error.exit_code if isinstance(error, FedLearnError) else FedLearnError.exit_code
        return cls(error=type(error).__name__, message=str(error), exit_code=code)

    def as_error(self) -> FedLearnError:
        """Returns the error as it was raised; a RunError for what is not one of fedlearn's."""
        kind = getattr(errors, self.error, None)
        if not (isinstance(kind, type) and issubclass(kind, FedLearnError)):
            return RunError(f"the run failed with {self.error}: {self.message}")
        error = kind.__new__(kind)  # not through __init__, which may build the message from parts
        error.args = (self.message,)
        return error


@contextmanager
def recorded(path: Path) -> Iterator[None]:
    """Writes ``failure.json`` into a run directory if the block raises, and lets the error go on."""
    try:
        yield
    except Exception as error:
        write(path, error)
        raise


def write(path: Path, error: Exception) -> None:
    """Writes ``failure.json`` into a run directory; logs it if the directory cannot be written."""
    failure = Failure.of(error)
    try:
        path.mkdir(parents=True, exist_ok=True)
        (path / FAILURE).write_text(
            json.dumps(msgspec.to_builtins(failure), indent=2) + "\n", encoding="utf-8"
        )
    except OSError as unwritten:
        _log.error("%s cannot be written: %s", path / FAILURE, unwritten)


def read(path: Path) -> FedLearnError | None:
    """Returns the error that a run directory records; None if there is none."""
    try:
        return msgspec.json.decode((path / FAILURE).read_bytes(), type=Failure).as_error()
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        return RunError(f"the run failed, and {path / FAILURE} cannot be read: {error}")
