"""A trained model in the form in which it is used: records in their public unit in, probabilities out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fedlearn.data.standardise import Standardisation


class Deployed(nn.Module):
    """``softmax(model((inputs − center) / spread))``, or the model's own output if it is no classifier.

    The constants are buffers, so that an exported file needs nothing beside it.

    Args:
      model: what was trained; sees standardised inputs.
      scale: public constants; None where inputs go to the model as they are.
      classifier: the model gives logits (n, classes); else its output is passed on.

    >>> Deployed(nn.Identity(), scale=None, classifier=True)(torch.zeros(1, 2)).tolist()
    [[0.5, 0.5]]
    """

    center: Tensor
    spread: Tensor

    def __init__(self, model: nn.Module, *, scale: Standardisation | None, classifier: bool) -> None:
        super().__init__()
        self.model = model
        self.classifier = classifier
        self.scaled = scale is not None
        if scale is not None:
            self.register_buffer("center", torch.from_numpy(scale.center).float())
            self.register_buffer("spread", torch.from_numpy(scale.spread).float())

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns class probabilities (n, classes) of records (n, *shape) in their public unit."""
        if self.scaled:
            inputs = (inputs - self.center) / self.spread
        outputs: Tensor = self.model(inputs)
        return torch.softmax(outputs, dim=-1) if self.classifier else outputs
