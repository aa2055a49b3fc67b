"""An autoencoder: what clients can learn from records that have no labels (Hinton and Salakhutdinov 2006)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from fedlearn.models.classifier import Activation
from fedlearn.models.mlp import dense_layers
from fedlearn.models.shapes import check_widths, features_of


class Autoencoder(nn.Module):
    """``head(body(inputs))``: reconstruction (n, values of a record) of the flattened record.

    The body is the body of an ``mlp`` with the same ``hidden``, so its parameters can start one.
    """

    output: ClassVar[str] = "reconstruction"

    def __init__(self, *, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.head = head

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns the reconstruction (n, d) of a batch (n, *shape), d the product of the shape."""
        reconstruction: Tensor = self.head(self.body(inputs))
        return reconstruction


def autoencoder(
    shape: tuple[int, ...],
    classes: int = 2,
    *,
    hidden: Sequence[int] = (64,),
    activation: Activation = "relu",
) -> Autoencoder:
    """Returns an encoder of the given widths and a decoder that mirrors it.

    Args:
      shape: of one record; flattened.
      classes: not used; every builder takes it.
      hidden: widths of the encoder's layers, first to last; the last is the code.
      activation: ``relu`` or ``tanh``.

    Raises:
      ModelError: a width below 1, no layer, or no values in a record.

    >>> sum(p.numel() for p in autoencoder((64,), hidden=(16,)).parameters())
    2128
    """
    del classes
    check_widths(layers=len(hidden), **{f"hidden[{i}]": width for i, width in enumerate(hidden)})
    widths = [features_of(shape), *hidden]
    encoder = nn.Sequential(nn.Flatten(), *dense_layers(widths, activation=activation))
    # The last activation is left off: a reconstruction may have any sign and size.
    decoder = nn.Sequential(*dense_layers(widths[::-1], activation=activation)[:-1])
    return Autoencoder(body=encoder, head=decoder)
