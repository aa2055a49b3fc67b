"""Whether a client's records have a property as a whole, told from its one update."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import TensorDataset

from fedlearn._validate import between, in_range
from fedlearn.attacks.membership import auc
from fedlearn.attacks.scene import Scene, with_clients
from fedlearn.errors import ConfigError
from fedlearn.runs.attack_report import AttackReport

SUCCESS_AUC = 0.75
_RIDGE = 1e-2


@dataclass(frozen=True, kw_only=True)
class ClientProperty:
    """A curious server tells whether a client holds many records of one class.

    It makes clients of its own out of public records, with and without the property, has them train as the
    experiment says, and fits a linear classifier to their updates (Melis et al. 2019, section 5.1, with
    ridge regression for their forest, because there are more parameters than updates).
    The clients it is then asked about are dealt from the federation's own records, by a fair coin each.

    Attributes:
      label: the class.
      share: of the records of a client that has the property; the others have none of the class.
      records: of each client, at least 2.
      shadows: clients that the server makes, at least 8.
      targets: clients that it is asked about, at least 8.
    """

    label: int = 0
    share: float = 0.5
    records: int = 16
    shadows: int = 60
    targets: int = 100

    def __post_init__(self) -> None:
        between(0.0, 1.0, share=self.share)
        in_range(2, 100_000, records=self.records)
        in_range(8, 100_000, shadows=self.shadows, targets=self.targets)

    def run(self, scene: Scene, *, rng: np.random.Generator) -> AttackReport:
        """Trains the classifier on the server's clients and asks it about the others."""
        held = scene.held().values()
        private = torch.cat([inputs for inputs, _ in held]), torch.cat([targets for _, targets in held])
        known, answers = self._updates(scene, scene.public_records(), self.shadows, rng)
        seen, truth = self._updates(scene, private, self.targets, rng)
        score = auc(_ridge(known, answers, seen), truth)
        return AttackReport(
            attack="property",
            adversary="a curious server",
            sees="one update",
            about="a client",
            score="auc",
            value=round(score, 4),
            null=0.5,
            success=SUCCESS_AUC,
            details={"targets": self.targets, "shadows": self.shadows, "records": self.records},
        )

    def _updates(
        self, scene: Scene, pool: tuple[Tensor, Tensor], count: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Returns what the server receives of clients out of a pool, (count, d), and who has the property."""
        has = rng.permutation(np.arange(count) % 2 == 0)
        dealt = self._dealt(pool, has, rng)
        names = sorted(scene.experiment.population.clients)
        rows = []
        for _ in range(0, count, len(names)):
            # The last round is filled up with clients that nobody asks about.
            clients = {name: next(dealt) for name in names}
            cohort = {**scene.experiment.config.cohort.model_dump(), "fraction": 1.0}
            played = with_clients(scene.experiment, clients, cohort=cohort)
            received = scene.play(played, played.initial_params).received
            rows += [received[name] for name in names]
        return np.stack(rows[:count]), has

    def _dealt(
        self, pool: tuple[Tensor, Tensor], has: NDArray[np.bool_], rng: np.random.Generator
    ) -> Iterator[TensorDataset]:
        """Yields clients with and without the property, and then for ever ones without."""
        inputs, targets = pool
        of_class = (targets == self.label).numpy()
        if not 0 < of_class.sum() < len(of_class):
            raise ConfigError(
                f"no class {self.label} beside others to tell apart; choose label=… of the attack"
            )
        inside, outside = np.flatnonzero(of_class), np.flatnonzero(~of_class)
        many = max(1, round(self.share * self.records))
        for wanted in [*has, *([False] * len(has))]:
            count = many if wanted else 0
            chosen = np.concatenate([rng.choice(inside, count), rng.choice(outside, self.records - count)])
            yield TensorDataset(inputs[chosen], targets[chosen])


def _ridge(
    known: NDArray[np.float64], answers: NDArray[np.bool_], seen: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Returns the scores of ``seen`` (m, d) by ridge regression of the answers on ``known`` (n, d)."""
    center = known.mean(axis=0)
    known, seen = known - center, seen - center
    kernel = known @ known.T
    signs = np.where(answers, 1.0, -1.0)
    penalty = _RIDGE * np.trace(kernel) / len(known) + np.finfo(np.float64).tiny
    weights = np.linalg.solve(kernel + penalty * np.eye(len(known)), signs - signs.mean())
    result: NDArray[np.float64] = seen @ (known.T @ weights)
    return result
