"""The server's runs: a folder each, with a status that says where it stands.

Whoever can write here can submit: it is the operator's own folder, and the only way in. What sites
take part in is decided by them.
"""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from fedlearn.config import ExperimentConfig
from fedlearn.errors import RunDirectoryError
from fedlearn.rounds.checkpoint import write_atomically

State: TypeAlias = Literal["queued", "waiting", "running", "finished", "failed", "stopped"]
STATUS, STOP = "status.json", "stop"
OPEN: frozenset[State] = frozenset({"queued", "waiting", "running"})


class Status(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a run stands.

    Attributes:
      state: see :data:`State`.
      submitted: seconds since 1970.
      attempt: how often the server has taken it up.
      needed: sites that it waits for, or began with.
      present: sites that are there.
      missing: those that are not.
      reason: why it failed or waits.
    """

    state: State
    submitted: float
    attempt: int = 0
    needed: int = 0
    present: int = 0
    missing: tuple[str, ...] = ()
    reason: Annotated[str, msgspec.Meta(max_length=4096)] = ""


def submit(runs: Path, config: ExperimentConfig) -> str:
    """Queues an experiment and returns its run id.

    Raises:
      RunDirectoryError: the folder cannot be written.
    """
    now = time.time()
    run = f"{config.name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{secrets.token_hex(2)}"
    write_atomically(runs / run / "experiment.toml", config.to_toml().encode())
    write(runs / run, Status(state="queued", submitted=now))
    return run


def write(directory: Path, status: Status) -> None:
    """Writes a run's status."""
    write_atomically(directory / STATUS, msgspec.json.encode(status))


def update(directory: Path, **changes: Any) -> Status:
    """Changes a run's status and returns it."""
    status = msgspec.structs.replace(read(directory), **changes)
    write(directory, status)
    return status


def read(directory: Path) -> Status:
    """Returns a run's status; raises RunDirectoryError if there is none."""
    try:
        return msgspec.json.decode((directory / STATUS).read_bytes(), type=Status)
    except (OSError, msgspec.MsgspecError) as error:
        raise RunDirectoryError(f"{directory} holds no run of this server: {error}") from None


def runs_in(runs: Path) -> dict[str, Status]:
    """Returns all runs, oldest first."""
    folders = [path for path in runs.iterdir() if (path / STATUS).is_file()] if runs.is_dir() else []
    found = {path.name: read(path) for path in folders}
    return dict(sorted(found.items(), key=lambda entry: (entry[1].submitted, entry[0])))


def next_run(runs: Path) -> str | None:
    """Returns the oldest run that is not over: queued, or cut off when the server ended."""
    return next((run for run, status in runs_in(runs).items() if status.state in OPEN), None)


def ask_to_stop(directory: Path) -> None:
    """Asks for an end after the round that is going on; a run that has not begun never will."""
    status = read(directory)
    if status.state not in OPEN:
        raise RunDirectoryError(f"run {directory.name} is {status.state}; there is nothing to stop")
    write_atomically(directory / STOP, b"")
    if status.state == "queued":
        update(directory, state="stopped", reason="stopped before it began")
