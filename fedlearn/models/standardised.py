"""A model that standardises its inputs first, with constants that it carries but does not train."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedlearn.errors import ModelError


class Standardised(nn.Module):
    """``model((inputs − center) / spread)``.

    The constants are buffers: they are saved with the model, so that whoever receives it needs nothing
    else, and no gradient moves them.

    Args:
      model: what sees the standardised inputs (n, d).
      features: d, length of a record.

    >>> scaled = Standardised(nn.Identity(), features=1)
    >>> scaled.load_constants(np.array([2.0, 4.0], np.float32))
    >>> scaled(torch.tensor([[10.0]])).tolist()
    [[2.0]]
    """

    center: Tensor
    spread: Tensor

    def __init__(self, model: nn.Module, *, features: int) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("center", torch.zeros(features))
        self.register_buffer("spread", torch.ones(features))

    def load_constants(self, constants: NDArray[np.float32]) -> None:
        """Sets the constants: center and spread one after the other, shape (2d,).

        Raises:
          ModelError: another length, a value that is not finite, or a spread that is not positive.
        """
        features = self.center.numel()
        usable = constants.shape == (2 * features,) and bool(np.isfinite(constants).all())
        if not (usable and (constants[features:] > 0).all()):
            raise ModelError(
                f"constants of shape {constants.shape} must be center and spread of {features} features:"
                " finite, and every spread above 0"
            )
        # Through NumPy, as the constants may lie in memory that is read-only here.
        np.copyto(self.center.numpy(), constants[:features])
        np.copyto(self.spread.numpy(), constants[features:])

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns the model's outputs for inputs (n, d)."""
        outputs: Tensor = self.model((inputs - self.center) / self.spread)
        return outputs
