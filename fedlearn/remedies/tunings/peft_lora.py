"""LoRA by Hugging Face's peft, for models whose layers it knows better."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from fedlearn.errors import ConfigError, ModelError
from fedlearn.remedies.tuning import copied, thaw


@dataclass(frozen=True, kw_only=True)
class PeftLoRA:
    """Adapters that peft injects; the head is trained as it is, the rest is frozen.

    Attributes:
      rank: r ≥ 1.
      alpha: the change is scaled by alpha / rank.
      layers: names of layers to adapt, as peft's ``target_modules``; empty: all Linear ones but the head.
      head: a layer that is trained whole; empty: none is.
    """

    rank: int = 4
    alpha: int = 8
    layers: Sequence[str] = ()
    head: str = "head"

    def apply(self, module: nn.Module) -> nn.Module:
        """Returns the model with peft's adapters in it.

        Raises:
          ConfigError: peft is not installed.
          ModelError: peft finds no layer to adapt.
        """
        try:
            from peft import LoraConfig, inject_adapter_in_model
        except ImportError:
            raise ConfigError(
                "tuning 'peft-lora' needs peft: pip install 'fedlearn[peft]', or use tuning 'lora'"
            ) from None
        linear = [name for name, layer in module.named_modules() if isinstance(layer, nn.Linear)]
        targets = list(self.layers) or [name for name in linear if name != self.head]
        adapters = LoraConfig(r=self.rank, lora_alpha=self.alpha, target_modules=targets)
        try:
            adapted: nn.Module = inject_adapter_in_model(adapters, module)
        except ValueError as error:
            raise ModelError(f"peft adapts no layer of {type(module).__name__}: {error}") from None
        if self.head and self.head in dict(adapted.named_modules()):
            thaw(adapted.get_submodule(self.head))
        return adapted

    def whole_state(self, module: nn.Module) -> Mapping[str, Tensor]:
        """Returns the state with every adapter merged into its layer."""
        from peft.tuners.tuners_utils import BaseTunerLayer

        merged = copy.deepcopy(module)
        adapted = [name for name, layer in merged.named_modules() if isinstance(layer, BaseTunerLayer)]
        for name in adapted:
            layer: Any = merged.get_submodule(name)
            layer.merge()
            merged.set_submodule(name, layer.get_base_layer())
        return copied(merged.state_dict())
