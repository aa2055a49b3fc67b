"""Evaluation: every record once, in pieces, without touching the model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from fedlearn.errors import DataError
from fedlearn.training import evaluate as module_under_test
from fedlearn.training.evaluate import evaluate, predict
from fedlearn.training.metrics import accuracy, log_loss

GENERATOR = torch.Generator().manual_seed(0)
INPUTS = torch.randn(11, 3, generator=GENERATOR)
TARGETS = torch.randint(4, (11,), generator=GENERATOR)
DATASET = TensorDataset(INPUTS, TARGETS)


def classifier() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5))


def test_probabilities_are_the_softmax_of_every_record_in_order() -> None:
    module = classifier()
    targets, probabilities = predict(module, DATASET)
    wanted = torch.softmax(module.eval()(INPUTS), dim=1)
    assert targets.tolist() == TARGETS.tolist()
    np.testing.assert_allclose(probabilities, wanted.detach().numpy(), atol=1e-7)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("chunk", [1, 4, 11, 12])
def test_pieces_of_any_size_give_the_same(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = predict(classifier(), DATASET)
    monkeypatch.setattr(module_under_test, "CHUNK", chunk)
    pieces = predict(classifier(), DATASET)
    assert pieces[0].tolist() == whole[0].tolist()
    np.testing.assert_allclose(pieces[1], whole[1], atol=1e-6)


def test_a_sequence_counts_as_many_predictions_as_places() -> None:
    module = nn.Linear(3, 4)
    inputs, targets = INPUTS[:10].reshape(2, 5, 3), TARGETS[:10].reshape(2, 5)
    flat = predict(module, TensorDataset(INPUTS[:10], TARGETS[:10]))
    seen = predict(module, TensorDataset(inputs, targets))
    assert seen[0].tolist() == flat[0].tolist()
    np.testing.assert_allclose(seen[1], flat[1], atol=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_dropout_is_off_and_the_mode_comes_back(training: bool) -> None:
    module = classifier().train(training)
    first, second = predict(module, DATASET), predict(module, DATASET)
    assert first[1].tobytes() == second[1].tobytes()
    assert module.training is training


def test_no_graph_and_no_gradient_is_left() -> None:
    module = classifier()
    predict(module, DATASET)
    assert all(parameter.grad is None for parameter in module.parameters())


def test_every_metric_is_computed_by_its_name() -> None:
    module = classifier()
    values = evaluate(module, DATASET, {"accuracy": accuracy, "surprise": log_loss})
    wanted = nn.functional.cross_entropy(module.eval()(INPUTS), TARGETS).item()
    assert values["surprise"] == pytest.approx(wanted, abs=1e-6)
    assert list(values) == ["accuracy", "surprise"]


def test_an_empty_set_is_refused() -> None:
    with pytest.raises(DataError, match="client 'test' has no records"):
        predict(classifier(), TensorDataset(INPUTS[:0], TARGETS[:0]))
