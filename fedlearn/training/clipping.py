"""Clipping of per-record gradients: how much each record may count.

Guarantee: what one record adds to a clipped sum has an L2 norm of at most C (1 + 1e-6), so that adding
or removing it changes the sum by no more, up to the rounding of the sum over the others. A record
whose gradient is not finite, or so large that its norm or its factor leaves the range of numbers, adds 0.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

Clipping: TypeAlias = Literal["auto", "fast", "hooks", "ghost"]
"""``auto``: each layer by its faster rule; ``fast``: book-keeping for convolutions too; ``hooks``: Opacus'
hooks make every record's gradient; ``ghost``: norms as in ``auto``, the sum by a second backward pass."""

# Below, a float32 has fewer digits than the guarantee needs.
_LEAST_FACTOR = torch.finfo(torch.float32).tiny

# Factors are lowered by this much: a clipped gradient is rounded to float32 twice.
_ROUNDING = 2e-7
_SLACK = 1e-6


def factors_of(squares: Tensor, bound: float, *, rounding: Tensor | None = None) -> Tensor:
    """Returns the factor of each record, about min(1, C / ‖g‖), shape (b,), float32.

    It is 0 where ‖g‖ is not finite, or exceeds C by a factor of 8e37.

    Args:
      squares: ‖g‖² as computed, shape (b,), float64.
      bound: C > 0.
      rounding: bound on the norm of what float32 adds to g when it is summed up over positions; what
        exceeds the slack of 1e-6 of the guarantee counts as part of ‖g‖.
    """
    norms = squares.sqrt()
    largest = norms * (1.0 + _ROUNDING)
    if isinstance(rounding, Tensor):
        largest = torch.maximum(largest, norms * (1.0 - _SLACK) + rounding)
    # An infinite norm gives 0 by itself.
    factors = (bound / largest).clamp_(max=1.0).nan_to_num_(nan=0.0)
    return torch.where(factors < _LEAST_FACTOR, 0.0, factors).float()


def square_norms(sample: Tensor) -> Tensor:
    """Returns ‖g‖² of each row of (b, p), shape (b,), float64, added up in float64."""
    norms: Tensor = torch.linalg.vector_norm(sample, dim=1, dtype=torch.float64)
    return norms.square_()


def kept_records(factors: Tensor) -> Tensor | None:
    """Returns which records count, shape (b,), or None if all do.

    Zero times NaN is NaN: records that count for nothing must be taken out of a sum, not weighed.
    """
    kept = factors > 0
    return None if bool(kept.all()) else kept


def taken(tensor: Tensor, kept: Tensor | None) -> Tensor:
    """Returns the rows of the kept records; None: all of them."""
    return tensor if kept is None else tensor[kept]
