"""Low-rank changes of frozen Linear layers are trained (Hu et al. 2022, LoRA)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedlearn._validate import positive
from fedlearn.errors import ConfigError, ModelError
from fedlearn.remedies.tuning import copied, freeze, thaw


class LowRank(nn.Module):
    """A frozen Linear layer W and a trained change of rank r: ``W x + b + scale · up(down(x))``.

    It begins as the layer: ``up`` is zero. Its weight and bias keep their names.

    Args:
      layer: the layer, whose parameters it takes over and freezes.
      rank: r.
      scale: factor of the change.
    """

    def __init__(self, layer: nn.Linear, *, rank: int, scale: float) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        freeze(self)
        self.down = nn.Linear(layer.in_features, rank, bias=False)
        self.up = nn.Linear(rank, layer.out_features, bias=False)
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        nn.init.zeros_(self.up.weight)
        self.scale = scale

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns (…, out) of inputs (…, in)."""
        change: Tensor = self.up(self.down(inputs))
        return functional.linear(inputs, self.weight, self.bias) + self.scale * change

    def merged_weight(self) -> Tensor:
        """Returns the weight of the Linear layer that does the same, (out, in)."""
        return self.weight + self.scale * (self.up.weight @ self.down.weight)


@dataclass(frozen=True, kw_only=True)
class LoRA:
    """Trains a low-rank change of each Linear layer, and the head as it is; the rest is frozen.

    Attributes:
      rank: r ≥ 1.
      scale: factor of the change, > 0.
      layers: names of Linear layers to change, or their last parts; empty takes all but the head.
      head: a layer that is trained whole; empty: none is.
    """

    rank: int = 4
    scale: float = 1.0
    layers: Sequence[str] = ()
    head: str = "head"

    def __post_init__(self) -> None:
        positive(scale=self.scale)
        if self.rank < 1:
            raise ConfigError(f"rank={self.rank} must be at least 1")

    def apply(self, module: nn.Module) -> nn.Module:
        """Returns the model with its Linear layers replaced by :class:`LowRank` ones."""
        chosen = [name for name, layer in module.named_modules() if self._takes(name, layer)]
        if not chosen:
            raise ModelError(
                f"{type(module).__name__} has no Linear layer that"
                f" {f'is named {list(self.layers)}' if self.layers else 'is not its head'}:"
                " there is nothing that a low-rank change could be trained of; use tuning 'head' or 'all'"
            )
        freeze(module)
        for name in chosen:
            layer = module.get_submodule(name)
            if isinstance(layer, nn.Linear):
                module.set_submodule(name, LowRank(layer, rank=self.rank, scale=self.scale))
        if self.head in dict(module.named_modules()) and self.head:
            thaw(module.get_submodule(self.head))
        return module

    def _takes(self, name: str, layer: nn.Module) -> bool:
        # Subclasses of Linear may be read by others without being called.
        if type(layer) is not nn.Linear or (self.head and name == self.head):
            return False
        return not self.layers or any(name == end or name.endswith(f".{end}") for end in self.layers)

    def whole_state(self, module: nn.Module) -> Mapping[str, Tensor]:
        """Returns the state with every change added to its layer."""
        state = copied(module.state_dict())
        with torch.no_grad():
            for name, layer in module.named_modules():
                if isinstance(layer, LowRank):
                    state[f"{name}.weight"] = layer.merged_weight().cpu()
                    del state[f"{name}.down.weight"], state[f"{name}.up.weight"]
        return state
