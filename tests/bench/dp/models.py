"""The four models that steps are measured on, with batches of random records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from opacus.layers import DPLSTM
from torch import Tensor, nn
from torch.nn import functional

from fedlearn.models import MODELS


@dataclass(frozen=True, kw_only=True)
class Case:
    """One model.

    Attributes:
      plain: builds what is trained without privacy.
      private: builds what is trained with it; another layer where the plain one has no per-record gradients.
      batch: number of records → inputs and targets.
    """

    plain: Callable[[], nn.Module]
    private: Callable[[], nn.Module]
    batch: Callable[[int], tuple[Tensor, Tensor]]


class Recurrent(nn.Module):
    """A character model: embedding 8, one LSTM layer of 128, 40 characters."""

    def __init__(self, kind: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.embed = nn.Embedding(80, 8)
        self.cells = kind(8, 128, batch_first=True)
        self.out = nn.Linear(128, 80)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.cells(self.embed(tokens))[0][:, -1])  # type: ignore[no-any-return]


class LowRank(nn.Module):
    """A frozen Linear layer with a trained correction of rank 4 (Hu et al. 2022)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.base = nn.Linear(inputs, outputs).requires_grad_(False)
        self.down = nn.Linear(inputs, 4, bias=False)
        self.up = nn.Linear(4, outputs, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.base(inputs) + self.up(self.down(inputs))  # type: ignore[no-any-return]


class Block(nn.Module):
    """A transformer block whose projections are adapted by low rank, norms frozen."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width).requires_grad_(False) for _ in range(2))
        self.project, self.combine = LowRank(width, 3 * width), LowRank(width, width)
        self.widen, self.narrow = LowRank(width, 4 * width), LowRank(4 * width, width)

    def forward(self, states: Tensor) -> Tensor:
        n, length, width = states.shape
        query, key, value = (
            self.project(self.norms[0](states)).view(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        )
        attended = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        states = states + self.combine(attended.transpose(1, 2).reshape(n, length, width))
        return states + self.narrow(functional.gelu(self.widen(self.norms[1](states))))  # type: ignore[no-any-return]


class Adapted(nn.Module):
    """Two blocks of width 128 over 64 tokens; low-rank corrections and the head are trained."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(256, 128).requires_grad_(False)
        self.blocks = nn.Sequential(Block(128, 4), Block(128, 4))
        self.out = nn.Linear(128, 20)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.blocks(self.embed(tokens)).mean(dim=1))  # type: ignore[no-any-return]


def _registered(name: str, **arguments: object) -> Callable[[], nn.Module]:
    return lambda: MODELS.build(name, dict(arguments), shape=(1, 28, 28), classes=10)


def _images(records: int) -> tuple[Tensor, Tensor]:
    return torch.randn(records, 1, 28, 28), torch.randint(0, 10, (records,))


def _text(length: int, vocabulary: int, classes: int) -> Callable[[int], tuple[Tensor, Tensor]]:
    return lambda records: (
        torch.randint(0, vocabulary, (records, length)),
        torch.randint(0, classes, (records,)),
    )


CASES = {
    "mlp": Case(
        plain=_registered("mlp", hidden=[256]), private=_registered("mlp", hidden=[256]), batch=_images
    ),
    "cnn": Case(plain=_registered("tanh-cnn"), private=_registered("tanh-cnn"), batch=_images),
    "transformer-lora": Case(plain=Adapted, private=Adapted, batch=_text(64, 256, 20)),
    "lstm": Case(
        plain=lambda: Recurrent(nn.LSTM), private=lambda: Recurrent(DPLSTM), batch=_text(40, 80, 80)
    ),
}
