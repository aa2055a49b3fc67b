"""The runs that a site has agreed to take part in, on its disk: what it goes on with after a restart."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from fedlearn.errors import MalformedMessage
from fedlearn.federation import terms
from fedlearn.federation.terms import Proposal
from fedlearn.rounds.checkpoint import write_atomically


class RunBook:
    """Accepted proposals by run; written before the acceptance leaves.

    Args:
      folder: created if missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def find(self, run: str) -> Proposal | None:
        """Returns the accepted proposal of a run; None if there is none.

        Raises:
          MalformedMessage: the file was damaged.
        """
        try:
            found = terms.decode_request(self._path(run).read_bytes())
        except FileNotFoundError:
            return None
        if not isinstance(found, Proposal) or found.run != run:
            raise MalformedMessage(f"{self._path(run)} holds no proposal of run {run!r}")
        return found

    def keep(self, proposal: Proposal) -> None:
        """Writes an accepted proposal; raises RunDirectoryError if the disk is full."""
        write_atomically(self._path(proposal.run), terms.encode(proposal))

    def _path(self, run: str) -> Path:
        msgspec.convert(run, terms.Run)  # no path leads out of the folder, whoever calls
        return self._folder / f"{run}.proposal"

    def __len__(self) -> int:
        return sum(name.endswith(".proposal") for name in os.listdir(self._folder))
