"""Event files for TensorBoard: ``tensorboard --logdir runs``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fedlearn._extras import extra

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoard:
    """Writes event files into ``DIRECTORY/tensorboard``.

    Args:
      directory: the run directory.
      name: of the run; TensorBoard takes it from the folders.

    Raises:
      MissingExtra: TensorBoard is not installed.
    """

    def __init__(self, directory: Path, name: str) -> None:
        del name
        with extra("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter
        self._open: Callable[..., SummaryWriter] = SummaryWriter
        self._folder = directory / "tensorboard"
        self._writer: SummaryWriter | None = None

    def log(self, scalars: Mapping[str, float], *, round: int) -> None:
        """Adds a point to each curve; the first one hides later points of an older run in this folder."""
        if self._writer is None:
            self._writer = self._open(log_dir=str(self._folder), purge_step=round)
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, global_step=round)

    def close(self) -> None:
        """Flushes and closes the event file."""
        if self._writer is not None:
            self._writer.close()
