"""A file that a run directory may have."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from fedlearn.errors import RunDirectoryError

M = TypeVar("M", bound=BaseModel)


def optional_part(kind: type[M], path: Path) -> M | None:
    """Returns what a JSON file says; None if it is not there.

    Raises:
      RunDirectoryError: the file is there and is not one of this kind.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror
        raise RunDirectoryError(
            f"{path} cannot be read: {reason}; remove it, and the report does without"
        ) from None
