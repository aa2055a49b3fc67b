"""The one form of every classifier: a body that makes features and a head that makes logits."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from fedlearn.errors import ModelError


class Classifier(nn.Module):
    """``head(body(inputs))``: logits (n, classes) float32.

    The two parts are named so that a federation can share the body and keep heads at home,
    train the head alone, or start the body from another model with the same one.

    Args:
      body: (n, *shape) → features (n, d) float32.
      head: features (n, d) → logits (n, classes).
    """

    def __init__(self, *, body: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.body = body
        self.head = head

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns the logits (n, classes) of a batch (n, *shape)."""
        logits: Tensor = self.head(self.body(inputs))
        return logits


Activation = Literal["relu", "tanh"]
"""tanh bounds activations, which helps under per-record clipping (Papernot et al. 2021, section 3)."""


def activation_of(name: Activation) -> nn.Module:
    """Returns a fresh activation layer.

    Raises:
      ModelError: neither ``relu`` nor ``tanh``.
    """
    if name == "relu":
        return nn.ReLU()
    if name == "tanh":
        return nn.Tanh()
    raise ModelError(f"activation={name!r} must be 'relu' or 'tanh'")
