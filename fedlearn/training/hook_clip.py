"""Clipped gradient sums from every record's gradient, by Opacus' hooks: for any layer that Opacus knows."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from opacus.grad_sample import GradSampleHooks
from torch import Tensor, nn

from fedlearn.errors import ModelError
from fedlearn.training.clipping import clipped_sum


class HookClip:
    """Computes clipped gradient sums of one model; Opacus' hooks stay on it for its life.

    A model that is wrapped anew each round would be hooked twice. The names of its state stay.

    Args:
      module: a model that Opacus' validator accepts.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._parameters = [p for p in module.parameters() if p.requires_grad]
        self._hooks = GradSampleHooks(module, batch_first=True, loss_reduction="sum", strict=True)

    @property
    def held_values(self) -> int:
        """Per-record gradient values that one record needs: all of them."""
        return sum(parameter.numel() for parameter in self._parameters)

    def clipped_sum(
        self, losses: Callable[[Tensor, Tensor], Tensor], inputs: Tensor, targets: Tensor, bound: float
    ) -> Tensor:
        """Returns Σ g · min(1, C / ‖g‖) over records, shape (d,), float32.

        Args:
          losses: (outputs, targets) → loss of each record, (b,).
          inputs: records, (b, …), b ≥ 1.
          targets: their targets, (b, …).
          bound: C > 0.

        Raises:
          ModelError: a layer's inputs do not begin with the record.
        """
        held = [parameter.grad for parameter in self._parameters]
        for parameter in self._parameters:
            parameter.grad = None
        with warnings.catch_warnings():
            # Opacus' hooks need no gradient with respect to the records, and PyTorch remarks on that.
            warnings.filterwarnings("ignore", message="Full backward hook is firing")
            losses(self._module(inputs), targets).sum().backward()  # type: ignore[no-untyped-call]
        samples = [self._per_record(parameter, len(inputs)) for parameter in self._parameters]
        for parameter, grad in zip(self._parameters, held, strict=True):
            parameter.grad = grad
        return clipped_sum(samples, bound)

    def _per_record(self, parameter: nn.Parameter, records: int) -> Tensor:
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
        return sample.flatten(1)
