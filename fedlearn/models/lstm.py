"""A long short-term memory network over tokens (Hochreiter and Schmidhuber 1997; Gers et al. 2000).

The cell is made of Linear layers, because per-record gradients exist for those and not for
``torch.nn.LSTM``. The input half of the gates is one matrix product over the whole sequence.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fedlearn.models.classifier import Classifier
from fedlearn.models.shapes import check_classes, check_widths, length_of, vocabulary_of


class LSTMLayer(nn.Module):
    """One recurrent layer: (n, length, inputs) → hidden states (n, length, hidden)."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.from_input = nn.Linear(inputs, 4 * hidden)
        self.from_hidden = nn.Linear(hidden, 4 * hidden, bias=False)
        # A forget gate that starts open lets gradients reach far back (Jozefowicz et al. 2015, 2.2).
        with torch.no_grad():
            self.from_input.bias[hidden : 2 * hidden] += 1.0

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns the hidden state after every position; the state before the first is zero."""
        driven = self.from_input(inputs)
        hidden = driven.new_zeros(driven.shape[0], driven.shape[2] // 4)
        cell = hidden
        states = []
        for position in range(driven.shape[1]):
            gates = driven[:, position] + self.from_hidden(hidden)
            entry, forget, candidate, exit_ = gates.chunk(4, dim=1)
            cell = torch.sigmoid(forget) * cell + torch.sigmoid(entry) * torch.tanh(candidate)
            hidden = torch.sigmoid(exit_) * torch.tanh(cell)
            states.append(hidden)
        return torch.stack(states, dim=1)


class LSTMBody(nn.Module):
    """Embedding and recurrent layers: tokens (n, length) int64 → last hidden state (n, hidden)."""

    def __init__(self, *, vocabulary: int, embedding: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.layers = nn.Sequential(*(LSTMLayer(hidden if i else embedding, hidden) for i in range(layers)))

    def forward(self, tokens: Tensor) -> Tensor:
        """Returns the hidden state after the last token."""
        states: Tensor = self.layers(self.embedding(tokens))
        return states[:, -1]


def lstm(
    shape: tuple[int, ...],
    classes: int,
    *,
    vocabulary: int | None = None,
    embedding: int = 16,
    hidden: int = 64,
    layers: int = 1,
) -> Classifier:
    """Returns a classifier of token sequences; with its default vocabulary, a character language model.

    Args:
      shape: (length,): number of tokens in a record.
      classes: number of logits, at least 2; for a language model, the tokens to predict.
      vocabulary: number of distinct tokens; one per class if not given.
      embedding: width of a token's embedding.
      hidden: width of the hidden state.
      layers: number of recurrent layers.

    Raises:
      ModelError: the record is no token sequence, a width below 1, or fewer than two classes.

    >>> sum(p.numel() for p in lstm((80,), 65).parameters())
    26001
    """
    check_classes(classes)
    check_widths(embedding=embedding, hidden=hidden, layers=layers)
    length_of(shape, model="lstm")
    tokens = vocabulary_of(vocabulary, classes=classes)
    body = LSTMBody(vocabulary=tokens, embedding=embedding, hidden=hidden, layers=layers)
    return Classifier(body=body, head=nn.Linear(hidden, classes))
