"""Metrics of a model on a data set."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from fedlearn.training.batches import fetch, size_of
from fedlearn.training.metrics import Metric, reads_outputs

CHUNK = 1024
"""Records per forward pass: bounds the memory of an evaluation."""


@torch.no_grad()
def predict(
    module: nn.Module, dataset: Dataset[tuple[Tensor, ...]]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Returns targets (n,) and class probabilities (n, classes) of every record.

    Outputs (n, T, classes) of a sequence model count as n · T predictions.
    """
    targets, outputs = outputs_of(module, dataset)
    return targets.flatten().numpy(), torch.softmax(outputs.flatten(0, -2), dim=-1).numpy()


@torch.no_grad()
def outputs_of(module: nn.Module, dataset: Dataset[tuple[Tensor, ...]]) -> tuple[Tensor, Tensor]:
    """Returns targets (n, …) and the model's outputs (n, …) for every record."""
    records = size_of(dataset, client="test")
    was_training = module.training
    module.eval()
    targets, outputs = [], []
    for start in range(0, records, CHUNK):
        inputs, wanted = fetch(dataset, np.arange(start, min(start + CHUNK, records)))
        outputs.append(module(inputs))
        targets.append(wanted)
    module.train(was_training)
    return torch.cat(targets), torch.cat(outputs)


def evaluate(
    module: nn.Module, dataset: Dataset[tuple[Tensor, ...]], metrics: Mapping[str, Metric]
) -> dict[str, float]:
    """Returns every metric of the model on the data set, of class probabilities or of plain outputs."""
    values: dict[str, float] = {}
    regressing = {name for name, metric in metrics.items() if reads_outputs(metric)}
    if regressing:
        wanted, outputs = outputs_of(module, dataset)
        flat = wanted.reshape(len(wanted), -1).numpy(), outputs.reshape(len(outputs), -1).numpy()
    if len(regressing) < len(metrics):
        targets, probabilities = predict(module, dataset)
    for name, metric in metrics.items():
        values[name] = metric(*flat) if name in regressing else metric(targets, probabilities)
    return values
