"""What clients keep between rounds, as files: it outlives the process, and every process sees it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from safetensors import SafetensorError
from safetensors.numpy import load as parse_safetensors
from safetensors.numpy import save as to_safetensors

from fedlearn.errors import RunDirectoryError
from fedlearn.rounds.checkpoint import write_atomically
from fedlearn.training.memory import Slots, outdated

_SUFFIX = ".safetensors"


def file_name_of(client: str) -> str:
    """Returns a file name that is this client's alone and lies in the folder it is used in.

    >>> file_name_of("ward/3"), file_name_of("..")
    ('ward%2F3', '%2E%2E')
    """
    # quote leaves dots alone; a client called ".." must not be a way out of the folder.
    return quote(client, safe="").replace(".", "%2E")


class FolderMemory:
    """A memory of files ``CLIENT/PART-ROUND.safetensors``, each whole or not there.

    They follow from records: the folder is its owner's alone.

    Args:
      folder: made when something is first kept.
      durable: whether what is kept is on the disk before :meth:`keep` returns, or may be lost with the
        machine's power: a simulation then starts over.
    """

    everywhere = True

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        self._folder = folder
        self._durable = durable

    def recall(self, client: str, part: str, *, before: int) -> Slots:
        """Returns what was kept in the newest round below ``before``; empty if nothing was.

        Raises:
          RunDirectoryError: the file is not readable, or was damaged.
        """
        newest = max((number for number in self._rounds(client, part) if number < before), default=None)
        if newest is None:
            return {}
        path = self._path(client, part, newest)
        try:
            kept: Slots = parse_safetensors(path.read_bytes())
        except (OSError, SafetensorError) as error:
            raise RunDirectoryError(
                f"{path}: what client {client!r} kept cannot be read: {error}; start the run anew"
            ) from None
        return kept

    def keep(self, client: str, part: str, *, round: int, slots: Slots) -> None:
        """Writes the arrays, and removes all but the newest round below.

        Raises:
          RunDirectoryError: the folder is not writable or the disk is full.
        """
        path = self._path(client, part, round)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(path, to_safetensors(dict(slots)), durable=self._durable)
        for number in outdated(dict.fromkeys(self._rounds(client, part)), round=round):
            self._path(client, part, number).unlink(missing_ok=True)

    def forget(self) -> None:
        """Removes everything, as before a run that starts anew."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _rounds(self, client: str, part: str) -> Iterator[int]:
        for path in self._client(client).glob(f"{part}-*{_SUFFIX}"):
            number = path.name.removeprefix(f"{part}-").removesuffix(_SUFFIX)
            if number.isdigit():
                yield int(number)

    def _client(self, client: str) -> Path:
        return self._folder / file_name_of(client)

    def _path(self, client: str, part: str, round: int) -> Path:
        return self._client(client) / f"{part}-{round}{_SUFFIX}"
