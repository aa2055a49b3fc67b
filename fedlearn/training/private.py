"""Record-level DP-SGD in a client: clipped gradient sums, and noise on them.

The noise is ours and not that of Opacus' optimizer, because it must come from the OS-keyed generator
(torch's is repeated by ``torch.manual_seed``); so is the sum, because one record that is NaN must not
poison it, and because a Poisson batch may be empty: it is noised and charged like any other.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from fedlearn.crypto.noise import NoiseSource
from fedlearn.errors import ModelError
from fedlearn.stopwatch import phase
from fedlearn.training.augmented import ManyViews, over_views
from fedlearn.training.clip_rules import Rule
from fedlearn.training.clipping import Clipping
from fedlearn.training.devices import PROCESSOR, Device, seeded
from fedlearn.training.fast_clip import FastClip
from fedlearn.training.ghost_clip import GhostClip
from fedlearn.training.objective import Loss, Losses, per_record
from fedlearn.training.opacus_rules import complaints
from fedlearn.training.record_privacy import RecordPrivacy
from fedlearn.training.vector import FlatModel, refuse_running_statistics

_log = logging.getLogger(__name__)

# Values held for records at a time (8 MB): with more, fresh pages cost more than arithmetic.
_HELD_VALUES = 1 << 21
_SMALLEST_PIECE, _LARGEST_PIECE = 8, 512


def check_clippable(module: nn.Module) -> None:
    """Raises ModelError for a layer without per-record gradients; names it and what to use instead."""
    refuse_running_statistics(module)
    errors = complaints(module)
    if errors:
        reasons = "; ".join(error.strip().split("\n")[0] for error in errors)
        raise ModelError(
            f"{type(module).__name__} cannot be trained with record-level privacy: {reasons};"
            " opacus.validators.ModuleValidator.fix(model) replaces such layers"
        )


class Clip(Protocol):
    """A way to compute clipped gradient sums of one model; all give the same sums.

    Attributes:
      rules: layer's name → how it is clipped.
    """

    rules: dict[str, Rule]

    @property
    def held_values(self) -> int:
        """Values that are held for one record."""

    def add_clipped_sum(
        self, sums: Mapping[Tensor, Tensor], losses: Losses, inputs: Tensor, targets: Tensor, bound: float
    ) -> None:
        """Adds Σ g · min(1, C / ‖g‖) over records to the sum of each trainable parameter."""


def clip_of(module: nn.Module, clipping: Clipping, device: Device = PROCESSOR) -> Clip:
    """Returns the way to clip a model that the configuration names; its hooks stay on the model.

    Raises:
      ModelError: a layer that mixes records or has no per-record gradient; named.
    """
    check_clippable(module)
    if clipping == "hooks":
        # It builds on Opacus' hooks, and loads Opacus.
        from fedlearn.training.hook_clip import HookClip

        return HookClip(module)
    return GhostClip(module) if clipping == "ghost" else FastClip(module, clipping, autocast=device.autocast)


class PrivateGradient:
    """Writes noisy clipped gradients into a model's gradient buffer.

    One of them serves a model for its life. The loss is evaluated for each record alone, so that a loss
    that couples records (a mean over the tokens that count, a contrast between records) cannot undo
    the bound on one record's influence.

    Attributes:
      rules: layer's name → how it is clipped.

    Args:
      model: the model; its parameters keep their names.
      loss: ``(outputs, targets) -> mean over the batch``.
      clipping: which way to clip (see ``clip_rules``).
      device: whose precision the forward pass has; the model must lie on it already.
      views: K, views of every record; with more than one, records come as (b, K, …), and what is clipped
        is the gradient of a record's mean loss over them.

    Raises:
      ModelError: a layer that mixes records or has no per-record gradient.
    """

    def __init__(
        self,
        model: FlatModel,
        loss: Loss,
        *,
        clipping: Clipping = "auto",
        views: int = 1,
        device: Device = PROCESSOR,
    ) -> None:
        self._model = model
        self._module = model.module if views == 1 else ManyViews(model.module)
        self._losses = per_record(loss) if views == 1 else over_views(per_record(loss))
        self._clip = clip_of(self._module, clipping, device)
        self._largest_piece: int | None = None
        self._total = torch.zeros_like(model.gradient)
        self._sums = model.views_of(self._total)
        self._seen_apart = False
        self.rules = self._clip.rules
        _log.info(
            "clipping: %s", ", ".join(f"{name or 'model'} by {rule}" for name, rule in self.rules.items())
        )

    def write(
        self, inputs: Tensor | None, targets: Tensor | None, *, privacy: RecordPrivacy, noise: NoiseSource
    ) -> None:
        """Writes (Σ clipped per-record gradients + N(0, (σC)²)) / (declared size · q).

        Args:
          inputs: records of the step, (b, …); None if none was drawn.
          targets: their targets, (b, …); None if none was drawn.
          privacy: bound, noise and denominator.
          noise: where the noise comes from; one vector is drawn, also for an empty step.

        Raises:
          ModelError: the output for one record depends on another record, or records are not the first
            dimension of a layer's input.
        """
        self._sum_up(inputs, targets, privacy.max_grad_norm)
        stddev = privacy.noise_multiplier * privacy.max_grad_norm
        with phase("noise"):
            # It comes from the processor's keyed generator; on a processor both arrays are the buffers.
            total, gradient = self._total.cpu(), self._model.gradient.cpu()
            noise.perturb(
                total.numpy(), stddev=stddev, factor=1.0 / privacy.expected_batch, out=gradient.numpy()
            )
            self._model.gradient.copy_(gradient)

    def clipped_sum(self, inputs: Tensor | None, targets: Tensor | None, *, max_grad_norm: float) -> Tensor:
        """Returns Σ g · min(1, C / ‖g‖) over the records of one step, without noise, shape (d,), float32.

        Guarantee: adding or removing one record changes it by at most ``max_grad_norm`` in L2. It
        protects nothing before noise is added, by this client or by a cohort together.

        Args:
          inputs: records of the step, (b, …); None if none was drawn, which gives zeros.
          targets: their targets, (b, …); None if none was drawn.
          max_grad_norm: C > 0.

        Raises:
          ModelError: as :meth:`write`.
        """
        self._sum_up(inputs, targets, max_grad_norm)
        return self._total.cpu().clone()

    def _sum_up(self, inputs: Tensor | None, targets: Tensor | None, bound: float) -> None:
        self._total.zero_()
        if inputs is None or targets is None:
            return
        self._check_apart(inputs)
        if self._largest_piece is None:
            self._largest_piece = self._fitting(inputs[:1], targets[:1], bound)
        start = 0
        while start < len(inputs):
            # Equal pieces: a rest of one or two records would cost a pass of its own.
            left = len(inputs) - start
            piece = slice(start, start + math.ceil(left / math.ceil(left / self._largest_piece)))
            self._clip.add_clipped_sum(self._sums, self._losses, inputs[piece], targets[piece], bound)
            start = piece.stop

    def _fitting(self, inputs: Tensor, targets: Tensor, bound: float) -> int:
        """Returns how many records are held at a time: what one holds is known after a pass.

        That pass counts for nothing, or the sum of the client that comes first would be taken in other
        pieces than of those that come later, and be another one by its rounding.
        """
        with seeded(0, inputs.device):
            self._clip.add_clipped_sum(self._sums, self._losses, inputs, targets, bound)
        self._total.zero_()
        fitting = _HELD_VALUES // max(1, self._clip.held_values)
        return max(_SMALLEST_PIECE, min(_LARGEST_PIECE, fitting))

    def _check_apart(self, inputs: Tensor) -> None:
        if not self._seen_apart and len(inputs) > 1:
            check_records_apart(self._module, inputs)
            self._seen_apart = True


def check_records_apart(module: nn.Module, inputs: Tensor) -> None:
    """Raises ModelError if the output for the first record depends on the second.

    Per-record gradients exist only where records do not meet inside the model. BatchNorm is known by
    name; this finds the same in code (``x - x.mean(0)``). The batch keeps its size and dropout its masks.

    Args:
      module: the model.
      inputs: at least two records, (b, …), b ≥ 2.
    """
    pair, twice = inputs[:2], inputs[[0, 0]]
    with torch.no_grad():
        with seeded(0, inputs.device):
            one = module(pair)[0]
        with seeded(0, inputs.device):
            other = module(twice)[0]
    if not torch.allclose(one, other, rtol=1e-4, atol=1e-6, equal_nan=True):
        raise ModelError(
            f"{type(module).__name__}: the output for one record changes with another record of the batch;"
            " no record has its own gradient; normalise within a record (nn.GroupNorm, nn.LayerNorm)"
        )
