"""Texts with some tokens hidden."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fedlearn._validate import between
from fedlearn.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class TokenDropout:
    """Replaces each token by ``replacement`` with the same chance (word dropout, Iyyer et al. 2015).

    Attributes:
      rate: chance of a token to be hidden, in (0, 1).
      replacement: the token that stands for a hidden one, ≥ 0 and of the model's vocabulary.

    >>> TokenDropout(rate=0.5).view(torch.ones(1, 6, dtype=torch.int64), torch.Generator()).dtype
    torch.int64
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    rate: float = 0.1
    replacement: int = 0

    def __post_init__(self) -> None:
        between(0.0, 1.0, rate=self.rate)
        if self.replacement < 0:
            raise ConfigError(f"replacement={self.replacement} is no token; give one of the vocabulary")

    def view(self, inputs: Tensor, random: torch.Generator) -> Tensor:
        """Returns the texts (n, length) with some tokens hidden."""
        hidden = (torch.rand(inputs.shape, generator=random) < self.rate).to(inputs.device)
        return inputs.masked_fill(hidden, self.replacement)
