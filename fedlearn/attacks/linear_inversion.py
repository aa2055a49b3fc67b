"""Records read off the gradient of a first linear layer.

Of a layer z = W x + b the gradient of one record is ∂W = g xᵀ, ∂b = g, so that every row of ∂W over its entry
of ∂b *is* the record (Phong et al. 2017, section III; Geiping et al. 2020, proposition 3.1). With
several records in a batch a row that only one of them activates still gives it away.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedlearn.attacks.recovery import recovery_report
from fedlearn.attacks.scene import Scene, gradient_of, one_step
from fedlearn.errors import ConfigError
from fedlearn.experiment import Experiment
from fedlearn.runs.attack_report import AttackReport, Sees


@dataclass(frozen=True, kw_only=True)
class FirstLayer:
    """Where the first linear layer lies in the flat vector.

    Attributes:
      weight: of W, shape (rows, columns).
      bias: of b, shape (rows,).
      rows: number of outputs.
      columns: number of inputs: the values of one record.
    """

    weight: slice
    bias: slice
    rows: int
    columns: int

    @classmethod
    def of(cls, experiment: Experiment, record: Tensor) -> FirstLayer:
        """Returns the layer that the record enters.

        Raises:
          ConfigError: the first layer with parameters is no Linear with a bias over the whole record.
        """
        module = experiment.build_model().module
        first = next((layer for layer in module.modules() if list(layer.parameters(recurse=False))), None)
        if not isinstance(first, nn.Linear) or first.bias is None or first.in_features != record.numel():
            kind = type(first).__name__
            raise ConfigError(
                f"the model begins with {kind}; reading records off a gradient needs a Linear with a bias"
                f" over the {record.numel()} values of a record: try 'gradient-matching'"
            )
        places: dict[Tensor, slice] = {}
        start = 0
        for parameter in module.parameters():
            if parameter.requires_grad:
                places[parameter] = slice(start, start + parameter.numel())
                start += parameter.numel()
        if first.weight not in places or first.bias not in places:
            raise ConfigError("the first layer is frozen: its gradient never leaves a client")
        return cls(
            weight=places[first.weight],
            bias=places[first.bias],
            rows=first.out_features,
            columns=first.in_features,
        )

    def split(self, gradient: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Returns ∂W, (rows, columns), and ∂b, (rows,)."""
        return gradient[self.weight].reshape(self.rows, self.columns), gradient[self.bias]


def ratios(weight: NDArray[Any], bias: NDArray[Any], shape: tuple[int, ...]) -> Tensor:
    """Returns the candidates ∂W_i / ∂b_i, (m, *shape), of the rows with a gradient."""
    alive = np.abs(bias) > 1e-12
    return torch.from_numpy((weight[alive] / bias[alive, None]).reshape(-1, *shape)).float()


@dataclass(frozen=True, kw_only=True)
class UpdateInversion:
    """A curious server reads a client's records off what the client sent it.

    Attributes:
      records: of every client, in its one step.
    """

    records: int = 1

    def run(self, scene: Scene, *, rng: np.random.Generator) -> AttackReport:
        """Attacks each client's vector; the score is the median over all records."""
        cut, truth = one_step(scene.experiment, records=self.records, rng=rng)
        seen = list(scene.play(cut, cut.initial_params).received.values())
        return _report("update-inversion", "one update", scene, truth, _candidates(cut, truth, seen))


@dataclass(frozen=True, kw_only=True)
class SumInversion:
    """A curious server reads records off the aggregate, all that secure aggregation shows it.

    Attributes:
      records: of every client, in its one step.
    """

    records: int = 1

    def run(self, scene: Scene, *, rng: np.random.Generator) -> AttackReport:
        """Attacks the aggregate; the score is the median over all clients' records."""
        cut, truth = one_step(scene.experiment, records=self.records, rng=rng)
        sum_ = scene.play(cut, cut.initial_params).aggregate
        return _report(
            "sum-inversion", "the sum", scene, truth, _candidates(cut, truth, [] if sum_ is None else [sum_])
        )


def _candidates(cut: Experiment, truth: Tensor, seen: Iterable[NDArray[Any]]) -> Tensor:
    """Returns all candidates that the seen vectors give, (m, …)."""
    layer = FirstLayer.of(cut, truth[0])
    shape = tuple(truth.shape[1:])
    found = [ratios(*layer.split(gradient_of(vector, cut)), shape) for vector in seen]
    return torch.cat([truth[:0], *found])


def _report(attack: str, sees: Sees, scene: Scene, truth: Tensor, candidates: Tensor) -> AttackReport:
    return recovery_report(
        attack,
        adversary="a curious server",
        sees=sees,
        public=scene.public(),
        truth=truth,
        candidates=candidates,
    )
