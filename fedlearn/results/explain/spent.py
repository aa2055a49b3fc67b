"""What a run has spent, by its privacy statement."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from fedlearn.errors import RunDirectoryError
from fedlearn.privacy.events import Event, event_from_dict
from fedlearn.privacy.release import counted
from fedlearn.runs.statement import Statement


def spent_per_record(directory: Path) -> dict[str, tuple[Event, ...]]:
    """Returns client → what the run has spent of its records; empty without differential privacy.

    Raises:
      RunDirectoryError: the run has no privacy statement, or it cannot be read.
    """
    path = directory / "privacy_statement.json"
    try:
        statement = Statement.model_validate_json(path.read_bytes())
    except OSError as error:
        raise RunDirectoryError(f"{directory} is incomplete: {path.name}: {error.strerror}") from None
    except ValidationError as error:
        raise RunDirectoryError(f"{path} cannot be read: {error.errors()[0]['msg']}") from None
    return {
        client.client: tuple(
            counted(event_from_dict(event), unit=client.unit, per="record") for event in client.events
        )
        for client in statement.clients
    }
