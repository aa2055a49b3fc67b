"""Record-level DP-SGD in a client: per-record gradients by Opacus, clipping and noise by us.

Opacus' hooks give each record's gradient. The clipped sum and its noise are ours, because the noise
must come from the OS-keyed generator (Opacus draws from torch's, which ``torch.manual_seed``
repeats), because one record that is NaN must not poison the sum, and because a Poisson batch may be
empty: it is noised and charged like any other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from opacus.grad_sample import GradSampleHooks
from opacus.validators import ModuleValidator
from torch import Tensor, nn

from fedlearn._validate import in_range, positive
from fedlearn.crypto.noise import NoiseSource
from fedlearn.errors import ModelError, PrivacyError
from fedlearn.training.objective import Loss
from fedlearn.training.vector import FlatModel, refuse_running_statistics

PHYSICAL_BATCH = 256
"""Records whose gradients are held at a time: memory is this times the number of parameters."""


@dataclass(frozen=True, kw_only=True)
class RecordPrivacy:
    """What protects a record in every step.

    Guarantee: one step is a Gaussian mechanism of noise multiplier σ on a Poisson sample: adding or
    removing one record changes the sum of clipped gradients by at most ``max_grad_norm`` in L2.

    Attributes:
      noise_multiplier: σ = stddev / max_grad_norm; > 0.
      max_grad_norm: C, L2 bound of one record's gradient over all parameters; > 0.
      sample_rate: q, chance that a record enters a step, in (0, 1].
      declared_size: public number of records; the step divides by ``declared_size`` · q, never by the
        number that was drawn, which is private.
    """

    noise_multiplier: float
    max_grad_norm: float
    sample_rate: float
    declared_size: int

    def __post_init__(self) -> None:
        positive(noise_multiplier=self.noise_multiplier, max_grad_norm=self.max_grad_norm)
        in_range(0.0, 1.0, sample_rate=self.sample_rate)
        positive(declared_size=self.declared_size)

    @property
    def expected_batch(self) -> float:
        """Expected number of records in a step, from public values."""
        return self.declared_size * self.sample_rate


def check_clippable(module: nn.Module) -> None:
    """Raises ModelError for a layer without per-record gradients; names it and what to use instead."""
    refuse_running_statistics(module)
    errors = ModuleValidator.validate(module, strict=False)
    if errors:
        reasons = "; ".join(str(error).strip().split("\n")[0] for error in errors)
        raise ModelError(
            f"{type(module).__name__} cannot be trained with record-level privacy: {reasons};"
            " opacus.validators.ModuleValidator.fix(model) replaces such layers"
        )


class PrivateGradient:
    """Writes noisy clipped gradients into a model's gradient buffer.

    The hooks are put on once and stay: a model that is wrapped anew each round would be hooked twice.

    Args:
      model: the model; its parameters keep their names.
      loss: ``(outputs, targets) -> mean over the batch``.

    Raises:
      ModelError: a layer that mixes records or has no per-record gradient.
    """

    def __init__(self, model: FlatModel, loss: Loss) -> None:
        check_clippable(model.module)
        self._model = model
        self._loss = loss
        self._parameters = [p for p in model.module.parameters() if p.requires_grad]
        self._hooks = GradSampleHooks(model.module, batch_first=True, loss_reduction="mean", strict=True)

    def write(
        self, inputs: Tensor | None, targets: Tensor | None, *, privacy: RecordPrivacy, noise: NoiseSource
    ) -> None:
        """Writes (Σ clipped per-record gradients + N(0, (σC)²)) / (declared size · q).

        Args:
          inputs: records of the step, (b, …); None if none was drawn.
          targets: their targets, (b, …); None if none was drawn.
          privacy: bound, noise and denominator.
          noise: where the noise comes from; one vector is drawn, also for an empty step.
        """
        total = self._model.gradient
        total.zero_()
        if inputs is not None and targets is not None:
            for start in range(0, len(inputs), PHYSICAL_BATCH):
                piece = slice(start, start + PHYSICAL_BATCH)
                total += self._clipped_sum(inputs[piece], targets[piece], privacy.max_grad_norm)
        stddev = privacy.noise_multiplier * privacy.max_grad_norm
        total += torch.from_numpy(noise.gaussian(total.numel(), stddev=stddev))
        total /= privacy.expected_batch

    def _clipped_sum(self, inputs: Tensor, targets: Tensor, bound: float) -> Tensor:
        """Returns the sum over records of g · min(1, C / ‖g‖), shape (d,); non-finite records give zero."""
        held = [parameter.grad for parameter in self._parameters]
        for parameter in self._parameters:
            parameter.grad = None
        self._loss(self._model.module(inputs), targets).backward()  # type: ignore[no-untyped-call]
        samples = [self._per_record(parameter) for parameter in self._parameters]
        for parameter, grad in zip(self._parameters, held, strict=True):
            parameter.grad = grad
        factors = clip_factors(samples, bound)
        # Zero times NaN is NaN: what is not finite is replaced before it is weighed.
        parts = [torch.einsum("b,bp->p", factors, torch.nan_to_num(s, 0.0, 0.0, 0.0)) for s in samples]
        return torch.cat(parts)

    def _per_record(self, parameter: nn.Parameter) -> Tensor:
        """Returns (b, p) gradients of one parameter and forgets them on the parameter."""
        sample: Tensor | None = getattr(parameter, "grad_sample", None)
        if sample is None:
            raise PrivacyError(f"a parameter of shape {tuple(parameter.shape)} has no per-record gradient")
        parameter.grad_sample = None  # type: ignore[attr-defined]  # an attribute that Opacus adds
        return sample.flatten(1)


def clip_factors(samples: list[Tensor], bound: float) -> Tensor:
    """Returns min(1, C / ‖g‖) of each record, shape (b,); 0 where a gradient is not finite.

    Norms are accumulated in float64 and the factor rounded down, so that a clipped gradient never
    exceeds the bound by more than the rounding of its own entries.

    Args:
      samples: per-record gradients of each parameter, shapes (b, p).
      bound: C > 0.
    """
    squares = torch.stack([sample.double().square().sum(dim=1) for sample in samples]).sum(dim=0)
    norms = squares.sqrt()
    factors = torch.clamp(bound / norms.clamp(min=bound * 1e-12), max=1.0)
    factors = torch.where(torch.isfinite(norms), factors, torch.zeros_like(factors))
    return (factors * (1.0 - 2.0**-24)).float()


def poisson_sample(records: int, privacy: RecordPrivacy, noise: NoiseSource) -> NDArray[np.int64]:
    """Returns the indices of a Poisson sample; each record is in it by its own secret coin."""
    if privacy.sample_rate >= 1:
        return np.arange(records)
    return np.flatnonzero(noise.bernoulli(records, privacy.sample_rate))
