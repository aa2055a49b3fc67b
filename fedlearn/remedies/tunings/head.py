"""Only the head is trained (linear probing)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from fedlearn.errors import ModelError
from fedlearn.remedies.tuning import copied, freeze, thaw


@dataclass(frozen=True, kw_only=True)
class Head:
    """Freezes everything but one layer.

    Attributes:
      layer: the layer's name; ``head`` in every classifier of fedlearn.

    >>> model = nn.Sequential(nn.Linear(9, 4), nn.Linear(4, 2))
    >>> sum(p.numel() for p in Head(layer="1").apply(model).parameters() if p.requires_grad)
    10
    """

    layer: str = "head"

    def apply(self, module: nn.Module) -> nn.Module:
        """Returns the model, its other layers frozen."""
        head = dict(module.named_modules()).get(self.layer)
        if not self.layer or head is None or not list(head.parameters()):
            names = ", ".join(name for name, child in module.named_children() if list(child.parameters()))
            raise ModelError(
                f"{type(module).__name__} has no layer {self.layer!r} to train alone;"
                f" it has {names or 'none'}"
            )
        freeze(module)
        thaw(head)
        return module

    def whole_state(self, module: nn.Module) -> Mapping[str, Tensor]:
        """Returns its state, the frozen layers' too."""
        return copied(module.state_dict())
