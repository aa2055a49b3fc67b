"""Federated averaging (McMahan et al. 2017, Algorithm 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fedlearn import _validate
from fedlearn._types import Vector
from fedlearn.algorithms.state import State, check_update


@dataclass(frozen=True, kw_only=True)
class FedAvg:
    """Moves the parameters along the aggregate: w ← w + η·update.

    Args:
      learning_rate: η > 0; at 1 the new parameters are the mean of the clients' own.

    Raises:
      ConfigError: the learning rate is not positive and finite.

    >>> import numpy as np
    >>> state = FedAvg().init(np.zeros(2, np.float32))
    >>> FedAvg().step(state, np.array([1.0, -2.0], np.float32)).params.tolist()
    [1.0, -2.0]
    """

    proximal: ClassVar[float] = 0.0
    learning_rate: float = 1.0

    def __post_init__(self) -> None:
        _validate.positive(learning_rate=self.learning_rate)

    def init(self, params: Vector) -> State:
        """Returns the state before the first round."""
        return State(params=params)

    def step(self, state: State, update: Vector) -> State:
        """Returns the state after a round; raises ProtocolError if the update does not fit."""
        check_update(state, update)
        return State(params=state.params + self.learning_rate * update, round=state.round + 1)
