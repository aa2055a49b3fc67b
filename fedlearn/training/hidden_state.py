"""State that a model keeps beside its parameters, and that would pass from one client to the next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fedlearn.errors import ModelError
from fedlearn.training.devices import seeded

_OF_EVERY_MODULE = frozenset(vars(nn.Module())) | {"training"}
_DEPTH = 3


def check_no_hidden_state(module: nn.Module, inputs: Tensor) -> None:
    """Raises ModelError if a forward pass changes anything of the model but its gradients.

    All clients of a process train on one model, and only its parameters are set anew for each: a counter, a
    list of past outputs or a running mean would tell one client of another, past clipping and noise. What
    the first pass builds and later ones only read, as a table of positions, is none.

    Args:
      module: the model, in training mode; it keeps what the two passes have changed.
      inputs: some records, (b, …).

    Raises:
      ModelError: names the attribute or buffer.
    """
    with torch.no_grad(), seeded(0, inputs.device):
        module(inputs)
        before = dict(_state_of(module))
        module(inputs)
    for name, value in _state_of(module):
        if before.get(name) != value:
            raise ModelError(
                f"the model keeps state in {name!r}, which training moves and nobody sets back: it would pass"
                " from one client to the next; make it a parameter, or compute it anew in each pass"
            )


def _state_of(module: nn.Module) -> Iterator[tuple[str, object]]:
    """Yields name and fingerprint of every buffer and of every attribute that holds plain values."""
    for name, buffer in module.named_buffers():
        yield name, _fingerprint(buffer)
    for path, part in module.named_modules():
        for name, value in vars(part).items():
            if name not in _OF_EVERY_MODULE:
                yield f"{path}.{name}".lstrip("."), _fingerprint(value)


def _fingerprint(value: Any, depth: int = _DEPTH) -> object:
    """Returns what equals another value's exactly if both hold the same; unknown kinds are all alike."""
    if isinstance(value, Tensor):
        flat = value.detach().cpu().contiguous().view(-1)
        return tuple(value.shape), flat.view(torch.uint8).numpy().tobytes()
    if isinstance(value, np.ndarray):
        return value.shape, value.tobytes()
    if isinstance(value, bool | int | float | complex | str | bytes | None):
        return value
    if depth and isinstance(value, Mapping):
        return tuple((repr(key), _fingerprint(one, depth - 1)) for key, one in value.items())
    if depth and isinstance(value, list | tuple | set | frozenset):
        return tuple(_fingerprint(one, depth - 1) for one in value)
    return type(value)
