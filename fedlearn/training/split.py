"""Which coordinates of a model travel, and which stay at the client that trains them.

>>> from fedlearn.training.vector import FlatModel
>>> net = nn.Sequential(nn.Linear(2, 3, bias=False), nn.LayerNorm(3), nn.Linear(3, 1, bias=False))
>>> split = Split.of(FlatModel(net), ["norm"])
>>> split.shared, split.local, split.names
(9, 6, ('1.weight', '1.bias'))
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fedlearn._types import Vector
from fedlearn.errors import ConfigError
from fedlearn.models.standardised import Standardised
from fedlearn.registry import nearest
from fedlearn.training.vector import FlatModel

NORM = "norm"
"""Stands for the parameters of all normalisation layers, as in FedBN (Li et al. 2021)."""

_NORMALISING = (nn.GroupNorm, nn.LayerNorm, nn.modules.instancenorm._InstanceNorm)


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """A flat vector (d,) in two: what travels, and what stays.

    Attributes:
      stays: True where a coordinate stays at the client; (d,).
      names: the parameters that stay.
    """

    stays: NDArray[np.bool_]
    names: tuple[str, ...]

    @classmethod
    def of(cls, model: FlatModel, patterns: Sequence[str]) -> Split:
        """Returns the split of a model.

        Args:
          model: the model.
          patterns: of parameter names, as ``"head.*"``, or ``"norm"``.

        Raises:
          ConfigError: a pattern that fits no parameter, or patterns that leave nothing to travel.
        """
        prefix = "model." if isinstance(model.module, Standardised) else ""
        spans = {name.removeprefix(prefix): span for name, span in model.spans.items()}
        stays, names = np.zeros(model.dimension, dtype=np.bool_), []
        normalising = {name.removeprefix(prefix) for name in _normalising(model.module)}
        for pattern in patterns:
            fitting = [name for name in spans if _fits(name, pattern, normalising)]
            if not fitting:
                raise ConfigError(
                    f"model.local_layers={pattern!r} fits no parameter.{nearest(pattern, list(spans))}"
                    f" There are: {', '.join(spans)}"
                )
            names += [name for name in fitting if name not in names]
        for name in names:
            stays[spans[name]] = True
        if stays.all():
            raise ConfigError(
                f"model.local_layers={list(patterns)} keeps all {len(stays)} parameters at the clients:"
                " nothing is left to federate; name fewer"
            )
        return cls(stays=stays, names=tuple(names))

    @cached_property
    def shared(self) -> int:
        """Number of coordinates that travel."""
        return int(len(self.stays) - self.local)

    @cached_property
    def local(self) -> int:
        """Number of coordinates that stay."""
        return int(np.count_nonzero(self.stays))

    def shared_of(self, vector: Vector) -> Vector:
        """Returns the coordinates of a vector (d,) that travel; the vector itself if all do."""
        return vector[~self.stays] if self.names else vector

    def local_of(self, vector: Vector) -> Vector:
        """Returns the coordinates of a vector (d,) that stay."""
        return vector[self.stays]

    def joined(self, shared: Vector, local: Vector) -> Vector:
        """Returns the vector (d,) of both parts."""
        if not self.names:
            return shared
        whole = np.empty(len(self.stays), dtype=np.float32)
        whole[~self.stays], whole[self.stays] = shared, local
        return whole


def _normalising(module: nn.Module) -> Iterator[str]:
    for layer, part in module.named_modules():
        if isinstance(part, _NORMALISING):
            yield from (f"{layer}.{name}" if layer else name for name, _ in part.named_parameters())


def _fits(name: str, pattern: str, normalising: set[str]) -> bool:
    return name in normalising if pattern == NORM else fnmatchcase(name, pattern)
