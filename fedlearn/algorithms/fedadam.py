"""FedAdam (Reddi et al. 2021, Algorithm 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fedlearn._types import Vector
from fedlearn.algorithms.adaptive import check_adaptive, first_moment, initial, moved
from fedlearn.algorithms.state import State, check_update


@dataclass(frozen=True, kw_only=True)
class FedAdam:
    """Adam on the server: v ← β₂·v + (1 − β₂)·update².

    Args:
      learning_rate: η > 0; the paper tunes it over powers of ten, about 0.01 to 0.1 (Appendix D).
      beta1: β₁ in [0, 1), as in the paper's section 5.
      beta2: β₂ in [0, 1), as in the paper's section 5.
      tau: τ > 0, degree of adaptivity; smaller adapts more.

    Raises:
      ConfigError: an argument out of range.
    """

    proximal: ClassVar[float] = 0.0
    learning_rate: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.99
    tau: float = 1e-3

    def __post_init__(self) -> None:
        check_adaptive(learning_rate=self.learning_rate, tau=self.tau, beta1=self.beta1, beta2=self.beta2)

    def init(self, params: Vector) -> State:
        """Returns the state before the first round."""
        return initial(params, tau=self.tau)

    def step(self, state: State, update: Vector) -> State:
        """Returns the state after a round; raises ProtocolError if the update does not fit."""
        check_update(state, update)
        first = first_moment(state, update, beta1=self.beta1)
        second = self.beta2 * state.slots["second"]
        second += (1.0 - self.beta2) * update**2
        return moved(state, first=first, second=second, learning_rate=self.learning_rate, tau=self.tau)
