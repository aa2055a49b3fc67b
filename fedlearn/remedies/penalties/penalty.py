"""What every penalty is."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Penalty(Protocol):
    """A term of the local objective that depends on the parameters and on no record.

    So it is added after clipping and noise, and costs no ε.
    """

    def add_gradient(self, gradient: Tensor, params: Tensor, anchor: Tensor) -> None:
        """Adds the gradient of the term in place.

        Args:
          gradient: of the loss, shape (d,); changed.
          params: where the client stands, shape (d,).
          anchor: the global parameters that the round began with, shape (d,).
        """
        ...
