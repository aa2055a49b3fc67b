"""Weights to start from: public files, read strictly, by the names of the model's parameters."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from fedlearn.errors import ConfigError, ModelError

_SHOWN = 3
_CHUNK = 1 << 20


class Weights(Protocol):
    """Public weights by name; shapes are known before any value is read."""

    @property
    def source(self) -> str:
        """Where they come from, for the manifest."""

    @property
    def sha256(self) -> str:
        """Digest of the file, or of its parts' digests and names; hex."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Name → shape of every tensor."""

    def read(self, names: Iterable[str]) -> Mapping[str, Tensor]:
        """Returns the tensors of these names."""
        ...


class Initialisation(Protocol):
    """Where weights come from."""

    def weights(self) -> Weights:
        """Returns the weights; raises ConfigError if there are none that can be read."""
        ...


@dataclass(frozen=True)
class SafetensorsWeights:
    """Weights in one or several safetensors files: a format that holds numbers and no code.

    Attributes:
      files: their paths; no name stands in two of them.
      source: where they come from.
      prefix: stands before each name in the model, and not in the files.
    """

    files: Sequence[Path]
    source: str
    prefix: str = ""

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Name → shape of every tensor; raises ConfigError for a file that is not what it should be."""
        return {self.prefix + name: shape for name, (_, shape) in self._places.items()}

    @cached_property
    def _places(self) -> Mapping[str, tuple[Path, tuple[int, ...]]]:
        found: dict[str, tuple[Path, tuple[int, ...]]] = {}
        for path in self.files:
            try:
                with safe_open(path, framework="pt") as held:
                    names = held.keys()
                    found |= {name: (path, tuple(held.get_slice(name).get_shape())) for name in names}
            except (OSError, SafetensorError) as error:
                raise ConfigError(f"{path} cannot be read as safetensors: {error}") from None
        return found

    @cached_property
    def sha256(self) -> str:
        """Digest of the file; of several, of the lines ``digest  name``."""
        digests = {path.name: _digest(path) for path in self.files}
        if len(digests) == 1:
            return next(iter(digests.values()))
        lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
        return hashlib.sha256(lines.encode()).hexdigest()

    def read(self, names: Iterable[str]) -> Mapping[str, Tensor]:
        """Returns the tensors of these names."""
        tensors = {}
        for name in names:
            own = name.removeprefix(self.prefix)
            with safe_open(self._places[own][0], framework="pt") as held:
                tensors[name] = held.get_tensor(own)
        return tensors


def start(module: nn.Module, weights: Weights, *, part: str = "") -> None:
    """Copies public weights into a model; nothing is copied unless everything fits.

    Args:
      module: the model; changed in place.
      weights: names as in ``module.state_dict()``.
      part: take only the parameters under this name (``body``), which the file must have all of;
        the others stay as they are. Empty: the file and the model have the same names.

    Raises:
      ModelError: a parameter that is missing, unknown or of another shape; names the layers.
    """
    prefix = f"{part}." if part else ""
    aliases: dict[nn.Parameter, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if name.startswith(prefix):
            aliases.setdefault(parameter, []).append(name)
    offered = {name: shape for name, shape in weights.shapes.items() if name.startswith(prefix)}
    # Tied parameters have several names, and a file holds one of them.
    chosen = {names[0]: next((n for n in names if n in offered), None) for names in aliases.values()}
    _check_names(chosen, offered, aliases, part=part, source=weights.source)
    _check_shapes(chosen, offered, aliases, source=weights.source)
    values = weights.read(name for name in chosen.values() if name is not None)
    with torch.no_grad():
        for parameter, names in aliases.items():
            parameter.copy_(values[chosen[names[0]] or ""])


def check_digest(weights: Weights, wanted: str | None) -> None:
    """Raises ConfigError unless the weights are the ones that the experiment pins."""
    if wanted is not None and weights.sha256 != wanted:
        raise ConfigError(
            f"{weights.source} has SHA-256 {weights.sha256}, remedies.initial.sha256 is {wanted}:"
            " it is another file; get the right one or correct the digest"
        )


def _check_names(
    chosen: Mapping[str, str | None],
    offered: Mapping[str, tuple[int, ...]],
    aliases: Mapping[nn.Parameter, list[str]],
    *,
    part: str,
    source: str,
) -> None:
    where = f"{source}{f' under {part!r}' if part else ''}"
    if not chosen:
        raise ModelError(f"remedies.initial.part={part!r} names no parameter of the model")
    missing = [name for name, found in chosen.items() if found is None]
    if missing:
        raise ModelError(f"{where} has no weights for {_listed(missing)}; remedies.initial.part takes a part")
    known = {name for names in aliases.values() for name in names}
    strange = sorted(offered.keys() - known)
    if strange:
        raise ModelError(f"{where} has weights that the model has no place for: {_listed(strange)}")


def _check_shapes(
    chosen: Mapping[str, str | None],
    offered: Mapping[str, tuple[int, ...]],
    aliases: Mapping[nn.Parameter, list[str]],
    *,
    source: str,
) -> None:
    differing = [
        f"{names[0]} is {held} there and {tuple(parameter.shape)} in the model"
        for parameter, names in aliases.items()
        if (held := offered[chosen[names[0]] or ""]) != tuple(parameter.shape)
    ]
    if differing:
        raise ModelError(f"{source} holds another model: {_listed(differing)}")


def _listed(entries: Sequence[str]) -> str:
    rest = len(entries) - _SHOWN
    return "; ".join(entries[:_SHOWN]) + (f"; and {rest} more" if rest > 0 else "")


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    return digest.hexdigest()
