"""SCAFFOLD: control variates against client drift (Karimireddy et al. 2020, Algorithm 1, option II)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedlearn._types import Vector
from fedlearn._validate import in_range, positive
from fedlearn.algorithms.local_rule import Kept, LocalWork, Outcome
from fedlearn.algorithms.state import State, check_update

CONTROL = "control"


@dataclass(frozen=True, kw_only=True)
class ControlVariates:
    """A client's part: every local gradient is corrected by c − cᵢ.

    Control variates are held in units of one step at the experiment's ``training.learning_rate``, here
    and on the wire: they then have the size of an update, which is what a secure sum is scaled for.

    Guarantee: what is sent is a function of the update, of the server's public c, and of nothing else::

        cᵢ⁺ − cᵢ = −c − update / (K·η)        (cᵢ cancels)

    so that under record-level DP, where the update comes from noised steps, control variates are
    post-processing: they spend nothing, at the client as well as on the wire.
    """

    received: ClassVar[tuple[str, ...]] = (CONTROL,)
    sent: ClassVar[int] = 2
    remembers: ClassVar[bool] = True
    reads_gradients: ClassVar[bool] = True

    def offset(self, received: Sequence[Vector], kept: Kept, *, unit_rate: float) -> Vector:
        """Returns c − cᵢ, as a gradient."""
        (control,) = received
        own = kept.get(CONTROL)
        difference = control if own is None else control - own
        offset: Vector = difference / np.float32(unit_rate)
        return offset

    def finish(self, update: Vector, received: Sequence[Vector], kept: Kept, work: LocalWork) -> Outcome:
        """Returns (update, cᵢ⁺ − cᵢ), and keeps cᵢ⁺ = cᵢ − c − update / (K·η)."""
        (control,) = received
        own = kept.get(CONTROL, np.zeros_like(control))
        if work.learning_rate == 0:
            return Outcome(sent=(update, np.zeros_like(update)), kept={CONTROL: own})
        per_step = np.float32(work.unit_rate / (work.steps * work.learning_rate))
        change = -control - per_step * update
        return Outcome(sent=(update, change), kept={CONTROL: own + change})


@dataclass(frozen=True, kw_only=True)
class Scaffold:
    """w ← w + η·mean(update), c ← c + share·mean(cᵢ⁺ − cᵢ).

    The fixed point is the optimum of the clients' common objective, whatever their curvatures and numbers
    of steps; that of federated averaging is not. Twice the bytes travel, both ways.

    Args:
      learning_rate: of the server, η > 0.
      share: |S|/N, clients of a round over all; the experiment fills in ``cohort.fraction``.

    Raises:
      ConfigError: an argument out of range.
    """

    proximal: ClassVar[float] = 0.0
    local: ClassVar[ControlVariates] = ControlVariates()
    learning_rate: float = 1.0
    share: float = 1.0

    def __post_init__(self) -> None:
        positive(learning_rate=self.learning_rate, share=self.share)
        in_range(0.0, 1.0, share=self.share)

    def init(self, params: Vector) -> State:
        """Returns the state before the first round: c = 0."""
        return State(params=params, slots={CONTROL: np.zeros_like(params)})

    def step(self, state: State, update: Vector) -> State:
        """Returns the state after a round.

        Args:
          state: before it.
          update: mean update and mean change of the control variates one behind the other, (2d,) float32.

        Raises:
          ProtocolError: the update does not fit.
        """
        check_update(state, update, vectors=self.local.sent)
        change, control = np.split(update, 2)
        return State(
            params=state.params + np.float32(self.learning_rate) * change,
            round=state.round + 1,
            slots={CONTROL: state.slots[CONTROL] + np.float32(self.share) * control},
        )
