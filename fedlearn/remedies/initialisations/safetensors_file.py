"""Weights from one safetensors file, such as the ``model.safetensors`` of another run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fedlearn.remedies.initialisation import SafetensorsWeights


@dataclass(frozen=True, kw_only=True)
class SafetensorsFile:
    """One file.

    Attributes:
      file: its path.
    """

    file: str

    def weights(self) -> SafetensorsWeights:
        """Returns its weights; raises ConfigError, when they are read, if it is no such file."""
        path = Path(self.file).expanduser()
        return SafetensorsWeights(files=(path,), source=path.name)
