"""Losses and gradients of augmented records.

Random numbers are torch's own of this process, as those of dropout layers are: a trainer seeds them for
each round, under record-level DP with a secret.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fedlearn.remedies.augmentation import Augmentations
from fedlearn.training.objective import Loss, Losses, per_record


def mean_loss(
    forward: Callable[[Tensor], Tensor],
    loss: Loss,
    augmentations: Augmentations,
    inputs: Tensor,
    targets: Tensor,
) -> Tensor:
    """Returns the mean loss over all views of some records, mixed if the augmentations mix.

    Args:
      forward: the model.
      loss: mean over a batch.
      augmentations: what is done to the records, and how many views of each there are.
      inputs: records, (n, …), n ≥ 1.
      targets: their targets, (n, …).
    """
    if not augmentations:
        return loss(forward(inputs), targets)
    random = torch.default_generator
    views = torch.cat([augmentations.view(inputs, random) for _ in range(augmentations.views)])
    wanted = torch.cat([targets] * augmentations.views)
    if augmentations.mixing is None:
        return loss(forward(views), wanted)
    mixed = augmentations.mixing.mix(views, random)
    outputs, each = forward(mixed.inputs), per_record(loss)
    own, other = each(outputs, wanted), each(outputs, wanted[mixed.partners])
    return (mixed.share * own + (1.0 - mixed.share) * other).mean()


class ManyViews(nn.Module):
    """A model that sees K views of every record: inputs (n, K, …) to outputs (n, K, …).

    The model is called once per view, so that each layer sees the record first, and its K calls belong to
    one record as those of a recurrent cell do. That makes the gradient of a record the mean over its views
    *before* it is clipped (De et al. 2022, section 3.2): one record still counts for C at most.

    Args:
      module: the model of one view.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, views: Tensor) -> Tensor:
        """Returns the outputs for each view."""
        return torch.stack([self.module(view) for view in views.unbind(dim=1)], dim=1)


def over_views(losses: Losses) -> Losses:
    """Returns the mean loss over the views of each record, (n,), of outputs (n, K, …) and targets (n, …)."""

    def mean(outputs: Tensor, targets: Tensor) -> Tensor:
        return torch.stack([losses(view, targets) for view in outputs.unbind(dim=1)]).mean(dim=0)

    return mean
