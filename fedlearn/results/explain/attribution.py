"""Integrated gradients (Sundararajan, Taly and Yan 2017, equation 1), by Captum.

The attribution of a value is the integral of the gradient of the predicted class's logit along the straight
line from a baseline to the record, times the way. Attributions of one record add up to the difference of
the logits at both ends. The baseline is 0 in the unit that the model takes: the public centre of a
standardised table, black for a picture, the first token for a text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedlearn._extras import extra
from fedlearn.errors import ModelError

STEPS = 64
"""Points of the Gauss–Legendre sum that stands for the integral."""
_BATCH = 2048
"""Forward passes at a time."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Attributions:
    """What each value of some records adds to the logit of the predicted class.

    Attributes:
      values: (n, *shape), float64; of a text one per position.
      classes: the predicted classes, (n,).
      gap: largest difference between the sum of a record's attributions and what they should add up to.
    """

    values: NDArray[np.float64] = field(repr=False)
    classes: NDArray[np.int64] = field(repr=False)
    gap: float


def attributions(module: nn.Module, inputs: Tensor) -> Attributions:
    """Returns the attributions of records.

    Args:
      module: gives logits (n, classes); in evaluation mode.
      inputs: (n, *shape), n ≥ 1, in the unit that it takes.

    Raises:
      MissingExtra: Captum is not installed.
      ModelError: no classifier of whole records, or tokens that no embedding takes.
    """
    with torch.no_grad():
        logits = module(inputs)
    if logits.dim() != 2:
        raise ModelError(f"outputs of shape {list(logits.shape[1:])} per record have no one class to explain")
    target = logits.argmax(dim=1)
    found, gap = _integrated(module, inputs, target)
    return Attributions(
        values=found.detach().double().numpy(), classes=target.numpy(), gap=float(gap.abs().max())
    )


def _integrated(module: nn.Module, inputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    with extra("explain"):
        from captum.attr import IntegratedGradients, LayerIntegratedGradients
    options: dict[str, Any] = {
        "baselines": torch.zeros_like(inputs),
        "target": target,
        "n_steps": STEPS,
        "internal_batch_size": _BATCH,
        "return_convergence_delta": True,
    }
    found: Tensor
    gap: Tensor
    if inputs.is_floating_point():
        found, gap = IntegratedGradients(module).attribute(inputs, **options)
        return found, gap
    embedding = next((layer for layer in module.modules() if isinstance(layer, nn.Embedding)), None)
    if embedding is None:
        raise ModelError("the records are tokens and the model has no nn.Embedding to attribute to")
    found, gap = LayerIntegratedGradients(module, embedding).attribute(inputs, **options)
    return found.sum(dim=-1), gap


def importance(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the share of each value in all attributions, (*shape), adding up to 1; zeros if there are none.

    >>> importance(np.array([[1.0, -1.0], [3.0, -1.0]])).tolist()
    [0.6666666666666666, 0.3333333333333333]
    """
    shares: NDArray[np.float64] = np.abs(values).mean(axis=0)
    total = shares.sum()
    if total > 0:
        shares /= total
    return shares
