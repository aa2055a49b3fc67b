"""Which rule clips which layer.

Per layer, because none is best for all: of Linear layers and embeddings a record's gradient is never made,
of convolutions and norms it is small and cheaper made than avoided. Opacus' rules make it for the layers
that Opacus knows, and automatic differentiation of the layer alone for any other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Literal, TypeAlias

from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from fedlearn.errors import ModelError
from fedlearn.training.clipping import Clipping
from fedlearn.training.opacus_rules import has_formula, samplers

Rule: TypeAlias = Literal["book-keeping", "opacus", "own forward"]
"""``book-keeping``: no per-record gradient is made; ``opacus``: by Opacus' rule for the kind of layer;
``own forward``: by differentiating the layer's forward pass anew for each record."""


def rules_of(module: nn.Module, clipping: Clipping = "auto") -> dict[str, Rule]:
    """Returns the rule of every layer with trainable parameters, by the layer's name in the module.

    Args:
      module: the model.
      clipping: how to choose.

    Raises:
      ModelError: a layer whose gradient for one record is not that record's alone; named.

    >>> rules_of(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2)))
    {'0': 'opacus', '2': 'book-keeping'}
    """
    layers = dict(clipped_layers(module))
    owners = Counter(id(p) for layer in layers.values() for p in trainable(layer))
    rules = {}
    for name, layer in layers.items():
        shared = any(owners[id(p)] > 1 for p in trainable(layer))
        rules[name] = _rule_of(name, layer, clipping, shared=shared)
    return rules


def clipped_layers(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yields name and layer of those that own trainable parameters, each layer once.

    Layers inside one that is differentiated as a whole belong to it.
    """
    seen: set[int] = set()
    whole: list[str] = []
    for name, layer in module.named_modules():
        inside = any(outer == "" or name.startswith(f"{outer}.") for outer in whole)
        if inside or id(layer) in seen or not _owns_parameters(layer):
            continue
        seen.add(id(layer))
        if not _known(layer):
            whole.append(name)
        yield name, layer


def trainable(layer: nn.Module, *, recurse: bool = True) -> list[nn.Parameter]:
    """Returns the parameters of a layer that are trained."""
    return [p for p in layer.parameters(recurse=recurse) if p.requires_grad]


def opacus_samples(layer: nn.Module, inputs: Tensor, gradient: Tensor) -> dict[Tensor, Tensor]:
    """Returns the per-record gradients of a layer that Opacus knows."""
    samples: dict[Tensor, Tensor] = samplers()[type(layer)](layer, [inputs], gradient)
    return samples


def own_samples(layer: nn.Module, inputs: Tensor, gradient: Tensor) -> dict[Tensor, Tensor]:
    """Returns the per-record gradients of any layer, from its forward pass on each record alone.

    Raises:
      ModelError: the forward pass does not work on one record, or draws random numbers.
    """
    parameters = {name: p for name, p in layer.named_parameters() if p.requires_grad}

    def product(values: dict[str, Tensor], record: Tensor, arriving: Tensor) -> Tensor:
        output: Tensor = functional_call(layer, values, (record[None],))
        return (output * arriving[None]).sum()

    values = {name: p.detach() for name, p in parameters.items()}
    try:
        samples = vmap(grad(product), in_dims=(None, 0, 0))(values, inputs, gradient)
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"{type(layer).__name__} has no per-record gradients: {str(error).splitlines()[0]};"
            " build it of layers that fedlearn or Opacus knows"
        ) from error
    return {parameters[name]: sample for name, sample in samples.items()}


def _rule_of(name: str, layer: nn.Module, clipping: Clipping, *, shared: bool) -> Rule:
    if isinstance(layer, nn.Embedding):
        _check_embedding(name, layer)
    if not _known(layer):
        return "own forward"
    if clipping == "hooks" or shared:
        return "opacus"
    formula = has_formula(layer) or (clipping == "fast" and _is_plain_convolution(layer))
    return "book-keeping" if formula else "opacus"


def _is_plain_convolution(layer: nn.Module) -> bool:
    if type(layer) not in (nn.Conv1d, nn.Conv2d) or not isinstance(layer, nn.Conv1d | nn.Conv2d):
        return False
    return layer.groups == 1 and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)


def _owns_parameters(layer: nn.Module) -> bool:
    """Returns whether a layer trains parameters that none inside it has; Opacus' LSTM repeats its cells'."""
    inside = {id(p) for child in layer.children() for p in child.parameters()}
    return any(id(p) not in inside for p in trainable(layer, recurse=False))


def _known(layer: nn.Module) -> bool:
    return has_formula(layer) or type(layer) in samplers()


def _check_embedding(name: str, layer: nn.Embedding) -> None:
    if layer.scale_grad_by_freq or layer.max_norm is not None:
        option = "scale_grad_by_freq" if layer.scale_grad_by_freq else "max_norm"
        raise ModelError(
            f"layer {name!r}: Embedding({option}=…) lets the records of a batch act on each other's"
            " gradients; leave it out"
        )
