"""Clipping of per-record gradients: how much each record may count, and the sum of what is left.

Guarantee: adding or removing one record changes the sum by at most C in L2, up to the rounding of
the sum. A record whose gradient is not finite, or so large that its norm overflows (1e19), adds 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

# A float32 norm of a block of 64 is off by at most 64 · 2^-24 / 2 of itself, whatever the order of
# its sum; factors are lowered by more than two of these, so that no clipped gradient, nor a product
# of two norms, exceeds the bound.
_NORM_BLOCK = 64
_ROUNDING = 1e-5


def clipped_sum(samples: list[Tensor], bound: float) -> Tensor:
    """Returns Σ g · min(1, C / ‖g‖) over records, shape (d,), float32.

    Args:
      samples: per-record gradients of each parameter, shapes (b, p), over the same b records.
      bound: C > 0.
    """
    factors = clip_factors(samples, bound)
    kept = factors > 0
    if not kept.all():
        # Zero times NaN is NaN: records that count for nothing are taken out, not weighed.
        factors, samples = factors[kept], [sample[kept] for sample in samples]
    return torch.cat([factors @ sample for sample in samples])


def clip_factors(samples: list[Tensor], bound: float) -> Tensor:
    """Returns min(1, C / ‖g‖) of each record, shape (b,), as :func:`factors_of` does."""
    return factors_of(torch.stack([square_norms(sample) for sample in samples]).sum(dim=0), bound)


def factors_of(squares: Tensor, bound: float) -> Tensor:
    """Returns min(1, C / ‖g‖) from ‖g‖², lowered by 1e-5 at most, shape (b,); 0 if ‖g‖ is not finite."""
    norms = squares.sqrt()
    factors = (bound * (1.0 - _ROUNDING) / norms).clamp(max=1.0)
    return torch.where(torch.isfinite(norms), factors, 0.0).float()


def square_norms(sample: Tensor) -> Tensor:
    """Returns ‖g‖² of each row of (b, p), shape (b,), float64: float32 in blocks, float64 between them."""
    whole = sample.shape[1] - sample.shape[1] % _NORM_BLOCK
    blocks = sample[:, :whole].reshape(len(sample), whole // _NORM_BLOCK, _NORM_BLOCK)
    squares: Tensor = torch.linalg.vector_norm(blocks, dim=2).double().square_().sum(dim=1)
    squares += torch.linalg.vector_norm(sample[:, whole:], dim=1).double().square_()
    return squares
