"""Clipped gradient sums by a second backward pass ("ghost clipping", Li et al. 2022, section 4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from fedlearn.stopwatch import timed
from fedlearn.training.clipping import kept_records
from fedlearn.training.fast_clip import LayerParts, record_factors


class GhostClip:
    """Computes clipped gradient sums of one model; forward hooks stay on it for its life.

    The first backward pass gives the norms; the second is a plain one, of losses weighed by the
    factors. It costs a pass more than :class:`FastClip` and leaves the sum to PyTorch's own kernels.

    Attributes:
      rules: layer's name → how its norms are found (see ``clip_rules``).

    Args:
      module: a model that Opacus' validator accepts.

    Raises:
      ModelError: a layer whose gradient for one record is not that record's alone.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._parts = LayerParts(module, "ghost")
        self.rules = self._parts.rules

    @property
    def held_values(self) -> int:
        """Values that are held for one record, as far as is known: more after the first pass."""
        return self._parts.held_values

    @timed("clipping")
    def add_clipped_sum(
        self,
        sums: Mapping[Tensor, Tensor],
        losses: Callable[[Tensor, Tensor], Tensor],
        inputs: Tensor,
        targets: Tensor,
        bound: float,
    ) -> None:
        """Adds Σ g · min(1, C / ‖g‖) over records to the sum of each parameter, as :class:`FastClip` does."""
        with self._parts.calls.noting():
            each = losses(self._module(inputs), targets)
        total = each.sum()
        with torch.no_grad():
            parts = self._parts.of(total, records=len(inputs), again=True)
            factors = record_factors(parts, records=len(inputs), bound=bound)
        kept = kept_records(factors)
        if kept is not None:
            # A record that counts for nothing would still carry NaN through the second pass.
            if bool(kept.any()):
                self.add_clipped_sum(sums, losses, inputs[kept], targets[kept], bound)
            return
        found = torch.autograd.grad((each * factors).sum(), list(sums), allow_unused=True)
        for total, gradient in zip(sums.values(), found, strict=True):
            if gradient is not None:
                total.add_(gradient)
