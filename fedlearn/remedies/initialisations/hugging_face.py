"""Weights from a local folder in the layout of Hugging Face: one file, or an index of several."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from fedlearn.errors import ConfigError
from fedlearn.remedies.initialisation import SafetensorsWeights

_WHOLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, kw_only=True)
class HuggingFaceFolder:
    """A folder as ``save_pretrained`` writes it. Nothing is downloaded, and no pickle is read.

    Attributes:
      folder: its path; holds ``model.safetensors``, or its index and the parts that this names.
      prefix: stands before each name where the model is a wrapper of the saved one, as ``model.``
    """

    folder: str
    prefix: str = ""

    def weights(self) -> SafetensorsWeights:
        """Returns the folder's weights.

        Raises:
          ConfigError: neither file is there, or the index is malformed or leads out of the folder.
        """
        folder = Path(self.folder).expanduser()
        if (folder / _WHOLE).is_file():
            files: tuple[Path, ...] = (folder / _WHOLE,)
            return SafetensorsWeights(files=files, source=folder.name, prefix=self.prefix)
        if (folder / _INDEX).is_file():
            return SafetensorsWeights(files=_parts(folder), source=folder.name, prefix=self.prefix)
        pickled = " (pytorch_model.bin is a pickle, which can run code: convert it)"
        has_pickle = (folder / "pytorch_model.bin").exists()
        raise ConfigError(f"{folder} has neither {_WHOLE} nor {_INDEX}{pickled if has_pickle else ''}")


def _parts(folder: Path) -> tuple[Path, ...]:
    try:
        names = sorted(set(json.loads((folder / _INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
        paths = tuple(folder / name for name in names)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ConfigError(f"{folder / _INDEX} is no index of weights: {error}") from None
    for path in paths:
        if path.parent != folder:
            raise ConfigError(f"{folder / _INDEX} names {path.name!r} outside of the folder")
    return paths
