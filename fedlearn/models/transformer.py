"""A transformer encoder over tokens (Vaswani et al. 2017), with the norm first (Xiong et al. 2020)."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedlearn.errors import ModelError
from fedlearn.models.classifier import Classifier
from fedlearn.models.shapes import check_classes, check_widths, length_of, vocabulary_of

Readout = Literal["mean", "last"]
"""Which positions the features are of: the mean over all of them, or the last one."""


class SelfAttention(nn.Module):
    """Multi-head attention of a sequence to itself: (n, length, width) → (n, length, width)."""

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(width, 3 * width)
        self.combine = nn.Linear(width, width)

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns the attended values; every position sees every other."""
        n, length, width = inputs.shape
        projected = self.project(inputs).view(n, length, 3, self.heads, width // self.heads)
        query, key, value = projected.permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value)
        outputs: Tensor = self.combine(attended.transpose(1, 2).reshape(n, length, width))
        return outputs


class EncoderBlock(nn.Module):
    """Attention and a two-layer perceptron, each normalised and added to its input."""

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        self.attend = nn.Sequential(nn.LayerNorm(width), SelfAttention(width=width, heads=heads))
        self.transform = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns (n, length, width)."""
        attended = inputs + self.attend(inputs)
        outputs: Tensor = attended + self.transform(attended)
        return outputs


class TransformerBody(nn.Module):
    """Tokens (n, length) int64 → the last block's output, read out over positions (n, width)."""

    def __init__(
        self, *, length: int, vocabulary: int, width: int, heads: int, layers: int, readout: Readout
    ) -> None:
        super().__init__()
        self.readout = readout
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(length, width)
        self.blocks = nn.Sequential(*(EncoderBlock(width=width, heads=heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Returns the features (n, width)."""
        # Positions are looked up once per record, so that their gradients are per record as well.
        places = torch.arange(tokens.shape[1], device=tokens.device).expand(tokens.shape)
        states: Tensor = self.norm(self.blocks(self.tokens(tokens) + self.positions(places)))
        return states[:, -1] if self.readout == "last" else states.mean(dim=1)


def transformer(
    shape: tuple[int, ...],
    classes: int,
    *,
    vocabulary: int | None = None,
    width: int = 32,
    heads: int = 4,
    layers: int = 2,
    readout: Readout = "mean",
) -> Classifier:
    """Returns a transformer encoder with learned positions that classifies token sequences.

    Args:
      shape: (length,): number of tokens in a record.
      classes: number of logits, at least 2.
      vocabulary: number of distinct tokens; one per class if not given.
      width: of embeddings and hidden states; a multiple of ``heads``.
      heads: of attention.
      layers: number of blocks.
      readout: ``"mean"`` over positions, for what a whole text is about; ``"last"`` position, for what
        comes next.

    Raises:
      ModelError: the record is no token sequence, ``width`` is no multiple of ``heads``, a width
        below 1, an unknown ``readout``, or fewer than two classes.

    >>> sum(p.numel() for p in transformer((80,), 65).parameters())
    32257
    """
    check_classes(classes)
    check_widths(width=width, heads=heads, layers=layers)
    if width % heads:
        raise ModelError(f"width={width} must be a multiple of heads={heads}")
    if readout not in get_args(Readout):
        raise ModelError(f"readout={readout!r} must be one of: {', '.join(get_args(Readout))}")
    body = TransformerBody(
        length=length_of(shape, model="transformer"),
        vocabulary=vocabulary_of(vocabulary, classes=classes),
        width=width,
        heads=heads,
        layers=layers,
        readout=readout,
    )
    return Classifier(body=body, head=nn.Linear(width, classes))
