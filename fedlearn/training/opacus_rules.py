"""What Opacus knows of layers, asked only where it is needed: loading it takes a second and 100 MB.

Models of Linear layers and embeddings, clipped by formula, need nothing of it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from torch import Tensor, nn

Sampler = Callable[[nn.Module, list[Tensor], Tensor], dict[Tensor, Tensor]]
"""``(layer, inputs, output gradients) -> parameter → per-record gradients (b, …)``."""

_PLAIN: Final = frozenset(
    {
        nn.Linear,
        nn.Embedding,
        nn.Sequential,
        nn.ModuleList,
        nn.ModuleDict,
        nn.Identity,
        nn.Flatten,
        nn.Unflatten,
        nn.Dropout,
        nn.ReLU,
        nn.GELU,
        nn.SiLU,
        nn.Tanh,
        nn.Sigmoid,
    }
)
"""Layers of PyTorch that Opacus' validator has nothing to say about."""


def complaints(module: nn.Module) -> list[str]:
    """Returns what Opacus' validator objects to in a model, one line per layer; empty if nothing."""
    if not needs_opacus(module):
        return []
    from opacus.validators import ModuleValidator

    return [str(error) for error in ModuleValidator.validate(module, strict=False)]


def needs_opacus(module: nn.Module) -> bool:
    """Returns whether Opacus' validator might object to a model.

    It judges a layer by its exact type: by some of PyTorch's, and by those that somebody has registered
    with Opacus, which is then loaded. It also wants the model in training mode.
    """
    return not module.training or _is_loaded() or not all(map(_is_plain, module.modules()))


def has_formula(layer: nn.Module) -> bool:
    """Returns whether a layer is Linear, an embedding, or a Linear layer inside Opacus' recurrent ones."""
    if type(layer) in (nn.Linear, nn.Embedding):
        return True
    if not type(layer).__module__.startswith("opacus."):
        return False
    from opacus.layers.dp_rnn import RNNLinear

    return type(layer) is RNNLinear


def samplers() -> Mapping[type[nn.Module], Sampler]:
    """Returns Opacus' rules for per-record gradients, by the exact type of a layer."""
    from opacus.grad_sample import GradSampleHooks

    known: Any = GradSampleHooks.GRAD_SAMPLERS
    return known  # type: ignore[no-any-return]  # Opacus types the table as Any


def _is_loaded() -> bool:
    return "opacus" in sys.modules


def _is_plain(layer: nn.Module) -> bool:
    kind = type(layer)
    return kind in _PLAIN or not kind.__module__.startswith(("torch.", "opacus."))
