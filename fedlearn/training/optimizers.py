"""Local optimizers. Each starts afresh every round: its state never leaves a client, nor outlives one."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import Parameter


class Stepping(Protocol):
    """What training needs of an optimizer; every one of torch has it."""

    def step(self) -> object:
        """Moves the parameters by their gradients."""
        ...


class _OnFlatParameter(ABC):
    """A rule for the one flat parameter of a model."""

    def __init__(self, parameter: Parameter) -> None:
        self._parameter = parameter
        self._values = parameter.detach()

    def zero_grad(self) -> None:
        """Forgets the gradient."""
        self._parameter.grad = None

    def step(self) -> None:
        """Moves the parameter by its gradient; without one, it stays."""
        gradient = self._parameter.grad
        if gradient is not None:
            self._move(gradient)

    @abstractmethod
    def _move(self, gradient: Tensor) -> None:
        """Moves the values by the gradient."""


class PlainSgd(_OnFlatParameter):
    """The rule of ``torch.optim.SGD`` for the one flat parameter of a model, to the same bits.

    Without the bookkeeping that torch does for many parameters of many kinds, which takes a fifth of
    the time of a small model's step.

    Attributes:
      factor: what a step is of the gradient, −learning rate; None if it depends on more.
    """

    def __init__(
        self, parameter: Parameter, *, learning_rate: float, momentum: float, weight_decay: float
    ) -> None:
        super().__init__(parameter)
        self._learning_rate = learning_rate
        self._momentum = momentum
        self._weight_decay = weight_decay
        self.factor = None if momentum or weight_decay else -learning_rate
        self._velocity: Tensor | None = None

    def _move(self, gradient: Tensor) -> None:
        if self._weight_decay:
            gradient = gradient.add(self._values, alpha=self._weight_decay)
        if self._momentum:
            gradient = self._averaged(gradient)
        self._values.add_(gradient, alpha=-self._learning_rate)

    def _averaged(self, gradient: Tensor) -> Tensor:
        if self._velocity is None:
            self._velocity = gradient.clone()
        else:
            self._velocity.mul_(self._momentum).add_(gradient)
        return self._velocity


class PlainAdam(_OnFlatParameter):
    """The rule of ``torch.optim.Adam`` and ``AdamW`` for one flat parameter, with their β and ε.

    Besides the bookkeeping, torch's own would load its compiler, which takes two seconds.
    """

    _BETAS = (0.9, 0.999)
    _EPSILON = 1e-8

    def __init__(
        self, parameter: Parameter, *, learning_rate: float, weight_decay: float, decoupled: bool
    ) -> None:
        super().__init__(parameter)
        self._learning_rate = learning_rate
        self._weight_decay = weight_decay
        self._decoupled = decoupled
        self._mean = torch.zeros_like(self._values)
        self._square = torch.zeros_like(self._values)
        self._steps = 0

    def _move(self, gradient: Tensor) -> None:
        self._steps += 1
        if self._decoupled:
            self._values.mul_(1 - self._learning_rate * self._weight_decay)
        elif self._weight_decay:
            gradient = gradient.add(self._values, alpha=self._weight_decay)
        first, second = self._BETAS
        self._mean.lerp_(gradient, 1 - first)
        self._square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        spread = self._square.sqrt().div_(math.sqrt(1 - second**self._steps)).add_(self._EPSILON)
        rate = self._learning_rate / (1 - first**self._steps)
        self._values.addcdiv_(self._mean, spread, value=-rate)


def sgd(
    parameters: Iterable[Parameter], *, learning_rate: float, momentum: float, weight_decay: float
) -> PlainSgd:
    """Stochastic gradient descent on one flat parameter, with heavy-ball momentum if ``momentum`` > 0."""
    (parameter,) = parameters
    return PlainSgd(parameter, learning_rate=learning_rate, momentum=momentum, weight_decay=weight_decay)


def adam(
    parameters: Iterable[Parameter], *, learning_rate: float, momentum: float, weight_decay: float
) -> PlainAdam:
    """Adam (Kingma and Ba 2015, Algorithm 1); its own first-moment decay is 0.9, ``momentum`` unused."""
    (parameter,) = parameters
    return PlainAdam(parameter, learning_rate=learning_rate, weight_decay=weight_decay, decoupled=False)


def adamw(
    parameters: Iterable[Parameter], *, learning_rate: float, momentum: float, weight_decay: float
) -> PlainAdam:
    """AdamW (Loshchilov and Hutter 2019, Algorithm 2): decoupled weight decay; ``momentum`` unused."""
    (parameter,) = parameters
    return PlainAdam(parameter, learning_rate=learning_rate, weight_decay=weight_decay, decoupled=True)
