"""FedDyn: dynamic regularisation that aligns the clients' optima (Acar et al. 2021, Algorithm 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedlearn._types import Vector
from fedlearn._validate import in_range, positive
from fedlearn.algorithms.local_rule import Kept, LocalWork, Outcome
from fedlearn.algorithms.state import State, check_update

_GRADIENT = "gradient"
_DRIFT = "drift"


@dataclass(frozen=True, kw_only=True)
class DynamicRegulariser:
    """A client's part: it minimises loss − ⟨gᵢ, w⟩ + (α/2)·‖w − global‖², and keeps gᵢ ← gᵢ − α·update.

    At a fixed point gᵢ is the gradient of the client's loss there. The quadratic term is the algorithm's
    ``proximal``.

    Guarantee: gᵢ is a sum of past updates. Under record-level DP these come from noised steps, so that gᵢ is
    post-processing and spends nothing.

    Attributes:
      alpha: α > 0.
    """

    received: ClassVar[tuple[str, ...]] = ()
    sent: ClassVar[int] = 1
    remembers: ClassVar[bool] = True
    alpha: float

    def offset(self, received: Sequence[Vector], kept: Kept, *, unit_rate: float) -> Vector | None:
        """Returns −gᵢ; None before the first round."""
        own = kept.get(_GRADIENT)
        return None if own is None else -own

    def finish(self, update: Vector, received: Sequence[Vector], kept: Kept, work: LocalWork) -> Outcome:
        """Returns the update, and keeps gᵢ − α·update."""
        own = kept.get(_GRADIENT, np.zeros_like(update))
        return Outcome(sent=(update,), kept={_GRADIENT: own - np.float32(self.alpha) * update})


@dataclass(frozen=True, kw_only=True)
class FedDyn:
    """h ← h − α·share·mean(update); w ← w + mean(update) − h/α.

    The fixed point is the optimum of the clients' common objective, as SCAFFOLD's is, with one vector on
    the wire instead of two.

    Args:
      alpha: α > 0, strength of the regulariser; the paper tunes it over 0.1, 0.01, 0.001.
      learning_rate: of the server, η > 0, on the whole change of w; the paper's is 1.
      share: |S|/N, clients of a round over all; the experiment fills in ``cohort.fraction``.

    Raises:
      ConfigError: an argument out of range.
    """

    alpha: float = 0.1
    learning_rate: float = 1.0
    share: float = 1.0

    def __post_init__(self) -> None:
        positive(alpha=self.alpha, learning_rate=self.learning_rate, share=self.share)
        in_range(0.0, 1.0, share=self.share)

    @property
    def proximal(self) -> float:
        """Weight α of the clients' proximal term."""
        return self.alpha

    @property
    def local(self) -> DynamicRegulariser:
        """The clients' part."""
        return DynamicRegulariser(alpha=self.alpha)

    def init(self, params: Vector) -> State:
        """Returns the state before the first round: h = 0."""
        return State(params=params, slots={_DRIFT: np.zeros_like(params)})

    def step(self, state: State, update: Vector) -> State:
        """Returns the state after a round; raises ProtocolError if the update does not fit."""
        check_update(state, update)
        drift: Vector = state.slots[_DRIFT] - np.float32(self.alpha * self.share) * update
        change: Vector = update - drift / np.float32(self.alpha)
        return State(
            params=state.params + self.learning_rate * change,
            round=state.round + 1,
            slots={_DRIFT: drift},
        )
