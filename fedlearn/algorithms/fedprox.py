"""FedProx: clients are pulled back to the global parameters (Li et al. 2020, Algorithm 2)."""

from __future__ import annotations

from dataclasses import dataclass

from fedlearn import _validate
from fedlearn._types import Vector
from fedlearn.algorithms.fedavg import FedAvg
from fedlearn.algorithms.state import State


@dataclass(frozen=True, kw_only=True)
class FedProx:
    """Federated averaging over clients that minimise loss + (μ/2)·‖w − global‖².

    Args:
      mu: μ ≥ 0; at 0 this is federated averaging. The paper tunes it over 0.001, 0.01, 0.1, 1.
      learning_rate: of the server, > 0.

    Raises:
      ConfigError: μ is negative, or the learning rate is not positive.
    """

    mu: float = 0.01
    learning_rate: float = 1.0

    def __post_init__(self) -> None:
        _validate.non_negative(mu=self.mu)
        _validate.positive(learning_rate=self.learning_rate)

    @property
    def proximal(self) -> float:
        """Weight μ of the clients' proximal term."""
        return self.mu

    def init(self, params: Vector) -> State:
        """Returns the state before the first round."""
        return State(params=params)

    def step(self, state: State, update: Vector) -> State:
        """Returns the state after a round; raises ProtocolError if the update does not fit."""
        return FedAvg(learning_rate=self.learning_rate).step(state, update)
