"""A model as one flat vector: parameters and gradients are views of two buffers.

Federated learning moves whole models; with the flat view loading, differencing and stepping are
single array operations, and an elementwise optimizer sees one parameter instead of many.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from fedlearn._types import Vector
from fedlearn.errors import ModelError
from fedlearn.models.standardised import Standardised


class FlatModel:
    """A module whose trainable parameters live in ``values`` and their gradients in ``gradient``.

    Attributes:
      module: the model; its parameters are views, so that training it moves ``values``.
      values: all trainable parameters, shape (d,), float32.
      gradient: their gradients, shape (d,), float32.
      carried: number of constants that the module carries and nobody trains: those of
        :class:`~fedlearn.models.standardised.Standardised`, else 0.

    Raises:
      ModelError: no trainable parameter, one that is not float32 or has no shape yet, or a layer that
        keeps running statistics outside its parameters (BatchNorm): named, with what to use instead.
    """

    def __init__(self, module: nn.Module) -> None:
        _refuse_lazy_parameters(module)
        refuse_running_statistics(module)
        self.module = module
        self._parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        if not self._parameters:
            raise ModelError(f"{type(module).__name__} has no trainable parameter")
        for name, parameter in self._parameters.items():
            if parameter.dtype != torch.float32:
                raise ModelError(f"parameter {name!r} is {parameter.dtype}; make it torch.float32")
        self.values = torch.cat([p.detach().reshape(-1) for p in self._parameters.values()])
        self.gradient = torch.zeros_like(self.values)
        self.carried = 2 * module.center.numel() if isinstance(module, Standardised) else 0
        self._attach()

    @property
    def device(self) -> torch.device:
        """Where parameters and gradients lie."""
        return self.values.device

    def move_to(self, device: torch.device) -> None:
        """Moves the model; whoever holds its parameters by name holds them still, its two buffers anew."""
        if self.device != device:
            self.values, self.gradient = self.values.to(device), self.gradient.to(device)
            self.module.to(device)
            self._attach()

    def _attach(self) -> None:
        sizes = [parameter.numel() for parameter in self._parameters.values()]
        values, gradients = torch.split(self.values, sizes), torch.split(self.gradient, sizes)
        self._gradients: list[tuple[nn.Parameter, Tensor]] = []
        self._moving: list[tuple[nn.Parameter, Tensor]] = []
        for parameter, own, gradient in zip(self._parameters.values(), values, gradients, strict=True):
            parameter.data = own.view_as(parameter)
            parameter.grad = gradient.view_as(parameter)
            self._gradients.append((parameter, parameter.grad))
            self._moving.append((parameter, parameter.detach()))

    def views_of(self, flat: Tensor) -> dict[Tensor, Tensor]:
        """Returns each trainable parameter's part of a flat vector (d,), in the parameter's shape."""
        parameters = list(self._parameters.values())
        parts = torch.split(flat, [p.numel() for p in parameters])
        return {p: part.view_as(p) for p, part in zip(parameters, parts, strict=True)}

    @property
    def spans(self) -> dict[str, slice]:
        """Name of each trainable parameter → where it lies in the flat vector."""
        ends = np.cumsum([parameter.numel() for parameter in self._parameters.values()]).tolist()
        return {
            name: slice(end - parameter.numel(), end)
            for (name, parameter), end in zip(self._parameters.items(), ends, strict=True)
        }

    @property
    def dimension(self) -> int:
        """Number of trainable parameters, d."""
        return self.values.numel()

    def load(self, params: Vector) -> None:
        """Copies a flat vector into the model: (d,), or (d + carried,) with the constants behind.

        Raises:
          ModelError: the constants are unusable.
        """
        # On a processor this is the buffer itself; numpy takes vectors that nobody may write, torch does not.
        values = self.values.cpu()
        np.copyto(values.numpy(), params[: self.dimension])
        self.values.copy_(values)
        if isinstance(self.module, Standardised) and len(params) > self.dimension:
            self.module.load_constants(params[self.dimension :])

    def params(self) -> Vector:
        """Returns a copy of the flat vector (d,), float32."""
        copy: Vector = self.values.cpu().numpy().copy()
        return copy

    def release_gradient(self) -> None:
        """Lets the next backward pass make gradients of its own, for :meth:`gather_gradient` to collect.

        One copy of them costs less than zeros that they are added to.
        """
        for parameter, _ in self._gradients:
            parameter.grad = None

    def gather_gradient(self) -> Tensor:
        """Returns the flat gradient after a backward pass, whether or not autograd kept the views."""
        for parameter, view in self._gradients:
            if parameter.grad is view:
                continue
            if parameter.grad is None:
                view.zero_()
            elif parameter.grad.is_sparse:
                view.copy_(parameter.grad.to_dense())
            elif parameter.grad.data_ptr() != view.data_ptr():
                view.copy_(parameter.grad)
            parameter.grad = view
        return self.gradient

    def move(self, factor: float) -> None:
        """Adds ``factor`` times its own gradient to each parameter: wherever a backward pass left them.

        To the same bits as one addition of the flat gradient, which need not be gathered for it.
        """
        for parameter, values in self._moving:
            gradient = parameter.grad
            if gradient is not None:
                values.add_(gradient.to_dense() if gradient.is_sparse else gradient, alpha=factor)


def _refuse_lazy_parameters(module: nn.Module) -> None:
    for name, parameter in module.named_parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise ModelError(f"parameter {name!r} has no shape yet; call the model on one batch first")


def refuse_running_statistics(module: nn.Module) -> None:
    """Raises ModelError for a layer whose running statistics leak records past clipping and noise."""
    for name, layer in module.named_modules():
        norm = isinstance(layer, nn.modules.batchnorm._BatchNorm)
        if norm or (isinstance(layer, nn.modules.instancenorm._InstanceNorm) and layer.track_running_stats):
            width = layer.num_features
            instead = f"nn.GroupNorm({_groups(width)}, {width})"
            raise ModelError(
                f"layer {name or '(root)'!r} is {type(layer).__name__}({width}), which mixes records and"
                f" keeps running statistics beside the parameters; use {instead}"
            )


def _groups(width: int) -> int:
    return next(groups for groups in (32, 16, 8, 4, 2, 1) if width % groups == 0)
