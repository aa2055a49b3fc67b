"""Layers whose weights are stored in eight bits and widened when they are used.

Symmetric, one scale per output: w ≈ q · s with q in [−127, 127] and s = max|w| / 127 (Jacob et al. 2018,
section 2.1, with zero point 0), so that no weight is off by more than s / 2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_WORTH_IT = 64
"""Weights below which a scale per output saves nothing."""


class Int8Layer(nn.Module):
    """A linear, convolutional or embedding layer with integer weights.

    Args:
      layer: the layer; its bias stays as it is, its weight is taken out of it.
    """

    values: Tensor
    scale: Tensor

    def __init__(self, layer: nn.Linear | nn.Conv1d | nn.Conv2d | nn.Embedding) -> None:
        super().__init__()
        values, scale = quantised(layer.weight.detach())
        self.register_buffer("values", values)
        self.register_buffer("scale", scale)
        self.bias = getattr(layer, "bias", None)
        layer.register_parameter("weight", None)
        self.layer = layer

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns what the layer gives with its rounded weights."""
        weight = self.values.float() * self.scale
        if isinstance(self.layer, nn.Embedding):
            return nn.functional.embedding(inputs, weight)
        if isinstance(self.layer, nn.Linear):
            return nn.functional.linear(inputs, weight, self.bias)
        outputs: Tensor = self.layer._conv_forward(inputs, weight, self.bias)
        return outputs


def quantised(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Returns integers, int8, of the weight's shape, and their scale per output, (outputs, 1, …).

    >>> values, scale = quantised(torch.tensor([[1.0, -2.0], [0.0, 0.0]]))
    >>> values.tolist()
    [[64, -127], [0, 0]]
    """
    largest = weight.abs().amax(dim=tuple(range(1, weight.dim())), keepdim=True)
    scale = torch.where(largest > 0, largest / 127, torch.ones_like(largest))
    return (weight / scale).round().to(torch.int8), scale


def with_int8_weights(model: nn.Module) -> nn.Module:
    """Returns the model, changed in place, with every layer of some size replaced."""
    for name, child in model.named_children():
        if isinstance(child, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Embedding):
            if child.weight.numel() >= _WORTH_IT:
                setattr(model, name, Int8Layer(child))
        else:
            with_int8_weights(child)
    return model
