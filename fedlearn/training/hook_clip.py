"""Clipped gradient sums from every record's gradient, by Opacus' hooks: for any layer that Opacus knows."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import torch
from opacus.grad_sample import GradSampleHooks
from torch import Tensor, nn

from fedlearn.errors import ModelError
from fedlearn.stopwatch import timed
from fedlearn.training.clip_rules import rules_of
from fedlearn.training.clipping import factors_of, kept_records, square_norms, taken


class HookClip:
    """Computes clipped gradient sums of one model; Opacus' hooks stay on it for its life.

    A model that is wrapped anew each round would be hooked twice. The names of its state stay.

    Attributes:
      rules: layer's name → how it is clipped (see ``clip_rules``).
      held_values: per-record gradient values that one record needs: all of them.

    Args:
      module: a model that Opacus' validator accepts.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self.rules = rules_of(module, "hooks")
        self.held_values = sum(p.numel() for p in module.parameters() if p.requires_grad)
        self._hooks = GradSampleHooks(module, batch_first=True, loss_reduction="sum", strict=True)

    @timed("clipping")
    def add_clipped_sum(
        self,
        sums: Mapping[Tensor, Tensor],
        losses: Callable[[Tensor, Tensor], Tensor],
        inputs: Tensor,
        targets: Tensor,
        bound: float,
    ) -> None:
        """Adds Σ g · min(1, C / ‖g‖) over records to the sum of each parameter.

        Args:
          sums: trainable parameter → its sum, of the same shape, float32; written.
          losses: (outputs, targets) → loss of each record, (b,).
          inputs: records, (b, …), b ≥ 1.
          targets: their targets, (b, …).
          bound: C > 0.

        Raises:
          ModelError: a layer's inputs do not begin with the record.
        """
        held = [parameter.grad for parameter in sums]
        for parameter in sums:
            parameter.grad = None
        with warnings.catch_warnings():
            # Opacus' hooks need no gradient with respect to the records, and PyTorch remarks on that.
            warnings.filterwarnings("ignore", message="Full backward hook is firing")
            losses(self._module(inputs), targets).sum().backward()  # type: ignore[no-untyped-call]
        samples = [_forgotten_sample(parameter, len(inputs)) for parameter in sums]
        for parameter, grad in zip(sums, held, strict=True):
            parameter.grad = grad
        squares = torch.stack([square_norms(sample) for sample in samples]).sum(dim=0)
        factors = factors_of(squares, bound)
        kept = kept_records(factors)
        for total, sample in zip(sums.values(), samples, strict=True):
            total.view(-1).addmv_(taken(sample, kept).T, taken(factors, kept))


def _forgotten_sample(parameter: Tensor, records: int) -> Tensor:
    """Returns (b, p) gradients of one parameter and forgets them on the parameter."""
    sample: Tensor | None = getattr(parameter, "grad_sample", None)
    if sample is None:
        # A parameter that the forward pass left out has no gradient, as in plain autograd.
        return torch.zeros(records, parameter.numel())
    parameter.grad_sample = None  # type: ignore[attr-defined]  # an attribute that Opacus adds
    if len(sample) != records:
        raise ModelError(
            f"a layer with parameters of shape {tuple(parameter.shape)} saw {len(sample)} records of"
            f" {records}; keep the record as the first dimension of every layer's input"
        )
    return sample.reshape(records, -1)
