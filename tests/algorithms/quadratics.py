"""Clients with quadratic losses, whose federations have fixed points in closed form.

Client i minimises f(w) = hᵢ/2 · (w − tᵢ)², coordinate by coordinate, in Kᵢ steps of gradient descent from the
global w. With rᵢ = 1 − (1 − η·hᵢ)^Kᵢ its update is rᵢ · (tᵢ − w).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedlearn._types import Vector
from fedlearn.algorithms.local_rule import Kept, LocalWork, rule_of
from fedlearn.algorithms.state import Algorithm


@dataclass(frozen=True, kw_only=True)
class Quadratic:
    """One client.

    Attributes:
      curvature: h, (d,).
      target: t, (d,).
      steps: K.
      rate: η.
    """

    curvature: NDArray[np.float64]
    target: NDArray[np.float64]
    steps: int
    rate: float = 0.1

    def descend(self, start: Vector, *, offset: Vector | float = 0.0, mu: float = 0.0) -> Vector:
        """Returns local − global after K steps on f + ⟨offset, w⟩ + μ/2·‖w − start‖²."""
        w = start.astype(np.float64)
        for _ in range(self.steps):
            w = w - self.rate * (self.curvature * (w - self.target) + offset + mu * (w - start))
        update: Vector = (w - start).astype(np.float32)
        return update


CLIENTS = (
    Quadratic(curvature=np.array([1.0, 0.5]), target=np.array([0.0, 2.0]), steps=5),
    Quadratic(curvature=np.array([4.0, 0.5]), target=np.array([1.0, -1.0]), steps=5),
    Quadratic(curvature=np.array([2.0, 3.0]), target=np.array([-2.0, 0.0]), steps=20),
)


def optimum() -> NDArray[np.float64]:
    """Returns where Σ fᵢ is least: Σ hᵢ·tᵢ / Σ hᵢ."""
    weights = np.array([client.curvature for client in CLIENTS])
    targets = np.array([client.target for client in CLIENTS])
    least: NDArray[np.float64] = (weights * targets).sum(axis=0) / weights.sum(axis=0)
    return least


def averaging_fixed_point() -> NDArray[np.float64]:
    """Returns where the mean update vanishes: Σ rᵢ·tᵢ / Σ rᵢ, which is not the optimum."""
    reaches = np.array([1.0 - (1.0 - c.rate * c.curvature) ** c.steps for c in CLIENTS])
    targets = np.array([client.target for client in CLIENTS])
    point: NDArray[np.float64] = (reaches * targets).sum(axis=0) / reaches.sum(axis=0)
    return point


def normalised_fixed_point() -> NDArray[np.float64]:
    """Returns where the mean of updates over their numbers of steps vanishes: Σ (rᵢ/Kᵢ)·tᵢ / Σ rᵢ/Kᵢ.

    That is FedNova's (Wang et al. 2020) with plain local steps.
    """
    reaches = np.array([(1.0 - (1.0 - c.rate * c.curvature) ** c.steps) / c.steps for c in CLIENTS])
    targets = np.array([client.target for client in CLIENTS])
    point: NDArray[np.float64] = (reaches * targets).sum(axis=0) / reaches.sum(axis=0)
    return point


def federated(algorithm: Algorithm, *, rounds: int) -> Vector:
    """Returns the global parameters after some rounds of all clients, with equal weights."""
    rule = rule_of(algorithm)
    state = algorithm.init(np.zeros(2, np.float32))
    kept: list[Kept] = [{} for _ in CLIENTS]
    for _ in range(rounds):
        received = [state.slots[name] for name in rule.received]
        replies = []
        for number, client in enumerate(CLIENTS):
            offset = rule.offset(received, kept[number], unit_rate=client.rate)
            update = client.descend(
                state.params, offset=0.0 if offset is None else offset, mu=algorithm.proximal
            )
            work = LocalWork(steps=client.steps, learning_rate=client.rate, unit_rate=client.rate)
            outcome = rule.finish(update, received, kept[number], work)
            kept[number] = outcome.kept
            replies.append(np.concatenate(outcome.sent))
        state = algorithm.step(state, np.mean(replies, axis=0, dtype=np.float32))
    return state.params
