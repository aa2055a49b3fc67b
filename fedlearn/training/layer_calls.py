"""The forward calls of a model's layers, and the gradients that arrive at their outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from fedlearn.errors import ModelError
from fedlearn.training.layer_sums import Pairs


@dataclass(frozen=True)
class Call:
    """One forward call of a layer, as long as its gradient is not known.

    Attributes:
      inputs: what came in, (b, …).
      output: what came out, (b, …).
      versions: of the memory of both; a change means that it was overwritten.
      edge: where the gradient of the output arrives, also after an overwriting activation.
    """

    inputs: Tensor
    output: Tensor
    versions: tuple[int, int]
    edge: GradientEdge


class LayerCalls:
    """Notes the calls of some layers; its forward hooks stay on them for their life.

    Attributes:
      held_values: inputs and outputs of one record in the last noted pass; 0 before the first.

    Args:
      layers: name and layer, of those that are to be noted.
    """

    def __init__(self, layers: Sequence[tuple[str, nn.Module]]) -> None:
        self._names = {layer: name for name, layer in layers}
        self._noted: list[tuple[nn.Module, Call]] = []
        self._noting = False
        self.held_values = 0
        for _, layer in layers:
            layer.register_forward_hook(self._note)

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Notes the calls that are made inside, and forgets those noted before."""
        self._noted, self._noting = [], True
        try:
            yield
        finally:
            self._noting = False

    def gradients(self, total: Tensor, *, records: int, again: bool = False) -> dict[nn.Module, Pairs]:
        """Returns inputs and output gradients of every noted call that the total depends on; forgets them.

        Args:
          total: the sum of the losses.
          records: b, which every input must begin with.
          again: keep the graph for another backward pass.

        Raises:
          ModelError: a layer's inputs do not begin with the record, or were overwritten.
        """
        noted, self._noted = self._noted, []
        self.held_values = sum(call.inputs.numel() + call.output.numel() for _, call in noted) // records
        edges = [call.edge for _, call in noted]
        arrived = torch.autograd.grad(total, edges, allow_unused=True, retain_graph=again) if edges else ()
        by_layer: dict[nn.Module, Pairs] = {}
        for (layer, call), gradient in zip(noted, arrived, strict=True):
            _check(self._names[layer], layer, call, records, lost=gradient is None)
            if gradient is not None:
                by_layer.setdefault(layer, []).append((_in_full(call.inputs), _in_full(gradient)))
        return by_layer

    def _note(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if not self._noting:
            return
        if len(inputs) != 1 or not (isinstance(inputs[0], Tensor) and isinstance(output, Tensor)):
            raise ModelError(
                f"layer {self._names[layer]!r} ({type(layer).__name__}) is not called with one tensor, by"
                " position, to give one; per-record gradients are known for such calls only"
            )
        given = inputs[0].detach()
        versions = given._version, output._version
        call = Call(inputs=given, output=output, versions=versions, edge=get_gradient_edge(output))
        self._noted.append((layer, call))


def _in_full(tensor: Tensor) -> Tensor:
    """Returns numbers in float32: norms and sums of a pass in less are taken in full, of the same numbers."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


def _check(name: str, layer: nn.Module, call: Call, records: int, *, lost: bool) -> None:
    kind = f"layer {name!r} ({type(layer).__name__})"
    if len(call.inputs) != records:
        raise ModelError(
            f"{kind}: inputs of shape {tuple(call.inputs.shape)} do not begin with the {records} records of"
            " the batch; keep the record as the first dimension of every layer's input"
        )
    inputs_before, output_before = call.versions
    # Overwriting a view replaces its place in the graph, and the gradient no longer comes by.
    if call.inputs._version != inputs_before or (lost and call.output._version != output_before):
        raise ModelError(f"{kind}: its input or output was overwritten in place; use inplace=False or a copy")
