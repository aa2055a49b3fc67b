"""The part that the adaptive server optimisers share (Reddi et al. 2021, Algorithm 2).

::

    m ← β₁·m + (1 − β₁)·update          m starts at 0
    v ← second moment of the algorithm  v starts at τ²
    w ← w + η·m / (√v + τ)

There is no bias correction, as in the paper.
"""

from __future__ import annotations

import numpy as np

from fedlearn import _validate
from fedlearn._types import Vector
from fedlearn.algorithms.decay import check_decay
from fedlearn.algorithms.state import State


def check_adaptive(*, learning_rate: float, tau: float, **rates: float) -> None:
    """Raises ConfigError unless η > 0, τ > 0 and every decay rate lies in [0, 1)."""
    _validate.positive(learning_rate=learning_rate, tau=tau)
    check_decay(**rates)


def initial(params: Vector, *, tau: float) -> State:
    """Returns the state before the first round: m = 0 and v = τ²."""
    return State(
        params=params,
        slots={"first": np.zeros_like(params), "second": np.full_like(params, tau**2)},
    )


def first_moment(state: State, update: Vector, *, beta1: float) -> Vector:
    """Returns β₁·m + (1 − β₁)·update, shape (d,), float32."""
    first = beta1 * state.slots["first"]
    first += (1.0 - beta1) * update
    return first


def moved(state: State, *, first: Vector, second: Vector, learning_rate: float, tau: float) -> State:
    """Returns the state after w ← w + η·m / (√v + τ)."""
    change = np.sqrt(second)
    change += tau
    np.divide(first, change, out=change)
    change *= learning_rate
    change += state.params
    return State(params=change, round=state.round + 1, slots={"first": first, "second": second})
