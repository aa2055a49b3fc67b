"""An audit with canary records: one training run, and the least ε that its model leaves possible."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import TensorDataset

from fedlearn._validate import between, in_range
from fedlearn.attacks.audit import one_run_bound
from fedlearn.attacks.membership import confidences
from fedlearn.attacks.scene import Scene, with_clients
from fedlearn.runs.attack_report import AttackReport

SUCCESS_EPSILON = 0.5
"""The bound holds with 95 % confidence, so that any that is well above 0 shows a leak."""


@dataclass(frozen=True, kw_only=True)
class OneRunAudit:
    """A recipient of the model guesses which canaries were trained on (Steinke et al. 2023, section 6).

    Canaries are the federation's own records with labels drawn anew, which a model knows only by heart.
    Each is in or out by its own coin; all other records are in. How many guesses are right bounds ε from
    below, whatever the mechanism. It is a weaker adversary than that of ``fedlearn audit``, who sees every
    noisy sum; this one needs no privacy to be configured.

    Attributes:
      canaries: how many, at least 20; of each client one record at least is none.
      significance: chance that the bound lies above the truth, in (0, 1).
    """

    canaries: int = 400
    significance: float = 0.05

    def __post_init__(self) -> None:
        in_range(20, 1_000_000, canaries=self.canaries)
        between(0.0, 1.0, significance=self.significance)

    def run(self, scene: Scene, *, rng: np.random.Generator) -> AttackReport:
        """Trains one model with some of the canaries and guesses which."""
        clients, inputs, targets, inside = self._planted(scene, rng)
        planted = with_clients(scene.experiment, clients)
        trained = scene.train(planted)
        scores = confidences(planted, trained.params, inputs, targets)
        bound = one_run_bound(
            scores[inside], scores[~inside], delta=trained.delta, significance=self.significance
        )
        details = {"canaries": len(inside), "significance": self.significance, "delta": trained.delta}
        if trained.epsilon is not None:
            details["epsilon"] = trained.epsilon
        return AttackReport(
            attack="one-run-audit",
            adversary="a recipient of the model",
            sees="the final model",
            score="epsilon",
            value=round(bound, 4),
            null=0.0,
            success=SUCCESS_EPSILON,
            details=details,
        )

    def _planted(
        self, scene: Scene, rng: np.random.Generator
    ) -> tuple[dict[str, TensorDataset], Tensor, Tensor, NDArray[np.bool_]]:
        """Returns the clients with the canaries that are in; all canaries (m, …) and (m,); and who is in."""
        held = scene.held()
        classes = int(torch.cat([targets for _, targets in held.values()]).max()) + 1
        total = sum(len(targets) for _, targets in held.values())
        share = min(1.0, self.canaries / total)
        clients, inputs, labels, coins = {}, [], [], []
        for name, (records, targets) in held.items():
            order = torch.from_numpy(rng.permutation(len(targets)))
            count = min(round(share * len(targets)), len(targets) - 1)
            canaries, others = order[:count], order[count:]
            coin = rng.random(count) < 0.5
            drawn = torch.from_numpy(rng.integers(classes, size=count))
            chosen = torch.from_numpy(coin)
            clients[name] = TensorDataset(
                torch.cat([records[others], records[canaries][chosen]]),
                torch.cat([targets[others], drawn[chosen]]),
            )
            inputs.append(records[canaries])
            labels.append(drawn)
            coins.append(coin)
        return clients, torch.cat(inputs), torch.cat(labels), np.concatenate(coins)
