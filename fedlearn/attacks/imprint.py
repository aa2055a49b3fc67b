"""A malicious server that sends a model made to copy records into the update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedlearn._types import Vector
from fedlearn.attacks.linear_inversion import FirstLayer, ratios
from fedlearn.attacks.recovery import recovery_report
from fedlearn.attacks.scene import Scene, Transcript, gradient_of, one_step
from fedlearn.errors import ConfigError
from fedlearn.experiment import Experiment
from fedlearn.runs.attack_report import AttackReport, Sees


@dataclass(frozen=True, kw_only=True)
class Imprint:
    """Bins over one feature of the records: a bin that one record falls into gives it away.

    Row i of the first layer fires if the mean of the inputs exceeds the i-th quantile of the
    public records; all rows lead to the same place. The difference of two neighbouring rows'
    gradients is then the sum over the records between their thresholds (Fowl et al. 2022, section 3.2).
    Only parameters are forged: every message is a valid one.

    Attributes:
      records: of every client, in its one step.
    """

    records: int = 8

    word: ClassVar[str] = "imprint"
    sees: ClassVar[Sees] = "one update"

    def _seen(self, transcript: Transcript) -> list[NDArray[Any]]:
        return list(transcript.received.values())

    def run(self, scene: Scene, *, rng: np.random.Generator) -> AttackReport:
        """Sends the forged model and reads the vectors that come back."""
        cut, truth = one_step(scene.experiment, records=self.records, rng=rng)
        layer = FirstLayer.of(cut, truth[0])
        forged = _forged(cut, layer, scene.public())
        shape = tuple(truth.shape[1:])
        seen = self._seen(scene.play(cut, forged))
        found = [_differences(layer, gradient_of(vector, cut), shape) for vector in seen]
        return recovery_report(
            self.word,
            adversary="a malicious server",
            sees=self.sees,
            public=scene.public(),
            truth=truth,
            candidates=torch.cat([truth[:0], *found]),
        )


@dataclass(frozen=True, kw_only=True)
class SumImprint(Imprint):
    """The same off the aggregate: the bins of all clients together, which masks do not hide."""

    word: ClassVar[str] = "sum-imprint"
    sees: ClassVar[Sees] = "the sum"

    def _seen(self, transcript: Transcript) -> list[NDArray[Any]]:
        return [] if transcript.aggregate is None else [transcript.aggregate]


def _forged(experiment: Experiment, layer: FirstLayer, public: Tensor) -> Vector:
    """Returns the initial parameters with thresholds in the first layer and equal ways out of it."""
    params: Vector = experiment.initial_params.copy()
    brightness = public.flatten(1).double().mean(dim=1).numpy()
    levels = np.quantile(brightness, np.linspace(0, 1, layer.rows + 2)[1:-1])
    params[layer.weight] = 1.0 / layer.columns
    params[layer.bias] = -levels
    onward = _next_weight(experiment, layer)
    rows = params[onward].reshape(-1, layer.rows)
    # Any column will do, so long as all are the same and its entries differ from class to class.
    params[onward] = np.repeat(rows[:, :1], layer.rows, axis=1).reshape(-1)
    return params


def _next_weight(experiment: Experiment, layer: FirstLayer) -> slice:
    """Returns where the weight of the layer after the first lies; raises ConfigError if it is not Linear."""
    linear = [part for part in experiment.build_model().module.modules() if isinstance(part, nn.Linear)]
    start = max(layer.weight.stop, layer.bias.stop)
    if len(linear) < 2 or linear[1].in_features != layer.rows:
        raise ConfigError("the imprint needs two Linear layers in a row, as in the model 'mlp'")
    return slice(start, start + linear[1].weight.numel())


def _differences(layer: FirstLayer, gradient: NDArray[np.float64], shape: tuple[int, ...]) -> Tensor:
    """Returns the candidates that lie between neighbouring thresholds."""
    weight, bias = layer.split(gradient)
    closed = np.zeros((1, layer.columns)), np.zeros(1)
    weight = np.diff(np.concatenate([weight, closed[0]]), axis=0)
    return ratios(weight, np.diff(np.concatenate([bias, closed[1]])), shape)
