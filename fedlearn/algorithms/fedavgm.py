"""Federated averaging with server momentum (Hsu et al. 2019, section 4.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedlearn import _validate
from fedlearn._types import Vector
from fedlearn.algorithms.decay import check_decay
from fedlearn.algorithms.state import State, check_update


@dataclass(frozen=True, kw_only=True)
class FedAvgM:
    """v ← β·v + update; w ← w + η·v.

    Args:
      learning_rate: η > 0.
      momentum: β in [0, 1); a constant update moves the parameters 1/(1 − β) times as far.

    Raises:
      ConfigError: an argument out of range.
    """

    proximal: ClassVar[float] = 0.0
    learning_rate: float = 1.0
    momentum: float = 0.9

    def __post_init__(self) -> None:
        _validate.positive(learning_rate=self.learning_rate)
        check_decay(momentum=self.momentum)

    def init(self, params: Vector) -> State:
        """Returns the state before the first round, with no momentum."""
        return State(params=params, slots={"momentum": np.zeros_like(params)})

    def step(self, state: State, update: Vector) -> State:
        """Returns the state after a round; raises ProtocolError if the update does not fit."""
        check_update(state, update)
        momentum = self.momentum * state.slots["momentum"]
        momentum += update
        return State(
            params=state.params + self.learning_rate * momentum,
            round=state.round + 1,
            slots={"momentum": momentum},
        )
