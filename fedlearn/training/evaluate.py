"""Metrics of a model on a data set."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from fedlearn.training.batches import fetch, size_of
from fedlearn.training.metrics import Metric

CHUNK = 1024
"""Records per forward pass: bounds the memory of an evaluation."""


@torch.no_grad()
def predict(
    module: nn.Module, dataset: Dataset[tuple[Tensor, ...]]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Returns targets (n,) and class probabilities (n, classes) of every record.

    Outputs (n, T, classes) of a sequence model count as n · T predictions.
    """
    records = size_of(dataset, client="test")
    was_training = module.training
    module.eval()
    targets, probabilities = [], []
    for start in range(0, records, CHUNK):
        inputs, wanted = fetch(dataset, np.arange(start, min(start + CHUNK, records)))
        outputs = module(inputs)
        probabilities.append(torch.softmax(outputs.flatten(0, -2), dim=-1).numpy())
        targets.append(wanted.flatten().numpy())
    module.train(was_training)
    return np.concatenate(targets), np.concatenate(probabilities)


def evaluate(
    module: nn.Module, dataset: Dataset[tuple[Tensor, ...]], metrics: Mapping[str, Metric]
) -> dict[str, float]:
    """Returns every metric of the model on the data set."""
    targets, probabilities = predict(module, dataset)
    return {name: metric(targets, probabilities) for name, metric in metrics.items()}
