"""The server's state between rounds, and the form of every algorithm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedlearn._types import Vector
from fedlearn.errors import ProtocolError, RunError

_RESERVED = ("params", "round")


@dataclass(frozen=True, kw_only=True, eq=False)
class State:
    """Global parameters and what the algorithm remembers beside them.

    Attributes:
      params: the global parameters, shape (d,), float32.
      round: number of steps taken so far.
      slots: the algorithm's own vectors by name (``momentum``, …), each shape (d,), float32.
    """

    params: Vector
    round: int = 0
    slots: Mapping[str, Vector] = field(default_factory=dict)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Returns the state as named arrays, for a checkpoint."""
        return {"params": self.params, "round": np.array([self.round], dtype=np.int64), **self.slots}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> State:
        """Returns the state that ``to_arrays`` wrote.

        Raises:
          RunError: ``params`` or ``round`` is missing, or a vector has another shape or dtype.
        """
        missing = [name for name in _RESERVED if name not in arrays]
        if missing:
            raise RunError(f"checkpoint lacks the arrays {missing}: it was written by something else")
        vectors = {name: array for name, array in arrays.items() if name != "round"}
        shape = arrays["params"].shape
        for name, vector in vectors.items():
            if vector.dtype != np.float32 or vector.ndim != 1 or vector.shape != shape:
                held = f"{vector.dtype}{list(vector.shape)}"
                raise RunError(f"checkpoint array {name!r} is {held}, not float32{list(shape)}")
        params = vectors.pop("params")
        return cls(params=params, round=int(arrays["round"].item()), slots=vectors)


class Algorithm(Protocol):
    """Server state in, server state out."""

    @property
    def proximal(self) -> float:
        """Weight μ ≥ 0 of the clients' proximal term (μ/2)·‖w − global‖²."""

    def init(self, params: Vector) -> State:
        """Returns the state before the first round; ``params`` is shared, not copied."""

    def step(self, state: State, update: Vector) -> State:
        """Returns the state after a round whose aggregate of local − global is ``update``.

        Neither argument is mutated. Where clients send more vectors (see
        :mod:`fedlearn.algorithms.local_rule`), their means stand behind the update.

        Raises:
          ProtocolError: ``update`` has not the length and dtype of what clients send.
        """


def check_update(state: State, update: Vector, *, vectors: int = 1) -> None:
    """Raises ProtocolError unless the update is that many vectors with shape and dtype of the parameters."""
    wanted = vectors * state.params.size
    if update.shape != (wanted,) or update.dtype != state.params.dtype:
        raise ProtocolError(
            f"update is {update.dtype}{list(update.shape)}, not {state.params.dtype}[{wanted}]:"
            " client and server hold different models"
        )
