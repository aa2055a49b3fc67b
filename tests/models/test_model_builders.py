"""What the builders promise beyond the contract of every model."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from torch import nn

from fedlearn.errors import ModelError
from fedlearn.models.autoencoder import autoencoder
from fedlearn.models.classifier import Classifier
from fedlearn.models.cnn import cnn
from fedlearn.models.logistic import logistic
from fedlearn.models.lstm import LSTMLayer, lstm
from fedlearn.models.mlp import mlp
from fedlearn.models.resnet_gn import resnet_gn
from fedlearn.models.tanh_cnn import tanh_cnn
from fedlearn.models.transformer import Readout, SelfAttention, transformer


def _size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_parameter_counts_by_hand() -> None:
    assert _size(logistic((13,), 2)) == 13 * 2 + 2
    assert _size(mlp((1, 8, 8), 10, hidden=(32, 16))) == (64 * 32 + 32) + (32 * 16 + 16) + (16 * 10 + 10)
    assert _size(cnn((1, 8, 8), 10)) == (9 * 16 + 16) + (9 * 16 * 32 + 32) + (32 * 4 * 32 + 32) + (
        32 * 10 + 10
    )
    assert _size(tanh_cnn((1, 28, 28), 10)) == (64 * 16 + 16) + (256 * 32 + 32) + (512 * 32 + 32) + (
        32 * 10 + 10
    )
    assert _size(lstm((5,), 4, embedding=3, hidden=2)) == 4 * 3 + (3 * 8 + 8) + 2 * 8 + (2 * 4 + 4)


def test_every_classifier_is_a_body_and_a_linear_head() -> None:
    for model in (logistic((4,), 3), mlp((4,), 3), cnn((1, 8, 8), 3), lstm((4,), 3), transformer((4,), 3)):
        assert isinstance(model, Classifier)
        assert isinstance(model.head, nn.Linear)
        assert {name.partition(".")[0] for name, _ in model.named_parameters()} <= {"body", "head"}


def test_logistic_starts_at_even_odds() -> None:
    assert torch.equal(logistic((3,), 2)(torch.randn(4, 3)), torch.zeros(4, 2))


def test_mlp_without_hidden_layers_is_linear() -> None:
    model = mlp((3,), 2, hidden=())
    inputs = torch.randn(4, 3)
    assert torch.equal(model(inputs), model.head(inputs))


def test_an_autoencoder_s_body_starts_an_mlp() -> None:
    pretrained = autoencoder((1, 4, 4), hidden=(8, 5)).state_dict()
    model = mlp((1, 4, 4), 3, hidden=(8, 5))
    body = {name: value for name, value in pretrained.items() if name.startswith("body.")}
    report = model.load_state_dict(body, strict=False)
    assert report.unexpected_keys == []
    assert report.missing_keys == ["head.weight", "head.bias"]


def test_an_autoencoder_can_learn_to_copy() -> None:
    torch.manual_seed(0)
    model = autoencoder((4,), hidden=(4,), activation="tanh")
    inputs = 0.5 * torch.randn(16, 4)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        loss = (model(inputs) - inputs).square().mean()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.01


def test_lstm_layer_is_torch_s_lstm() -> None:
    """The oracle is ``torch.nn.LSTM`` with the same weights: gates in the same order, one bias."""
    torch.manual_seed(1)
    ours, oracle = LSTMLayer(3, 5), nn.LSTM(3, 5, batch_first=True)
    weights = {
        "weight_ih_l0": ours.from_input.weight,
        "weight_hh_l0": ours.from_hidden.weight,
        "bias_ih_l0": ours.from_input.bias,
        "bias_hh_l0": torch.zeros(20),
    }
    oracle.load_state_dict(weights)
    inputs = torch.randn(2, 7, 3)
    torch.testing.assert_close(ours(inputs), oracle(inputs)[0])


def test_attention_is_torch_s_attention() -> None:
    """The oracle is ``torch.nn.MultiheadAttention`` with the same weights."""
    torch.manual_seed(2)
    ours, oracle = SelfAttention(width=8, heads=2), nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        oracle.in_proj_weight.copy_(ours.project.weight)
        oracle.in_proj_bias.copy_(ours.project.bias)
        oracle.out_proj.weight.copy_(ours.combine.weight)
        oracle.out_proj.bias.copy_(ours.combine.bias)
    inputs = torch.randn(3, 6, 8)
    torch.testing.assert_close(ours(inputs), oracle(inputs, inputs, inputs)[0], rtol=1e-4, atol=1e-5)


def test_transformer_knows_the_order_of_tokens() -> None:
    model = transformer((4,), 3, vocabulary=5)
    there, back = torch.tensor([[0, 1, 2, 3]]), torch.tensor([[3, 2, 1, 0]])
    assert not torch.allclose(model(there), model(back))


def test_a_transformer_that_reads_its_last_position_sees_the_others_through_it() -> None:
    torch.manual_seed(3)
    last, mean = (transformer((4,), 3, vocabulary=5, readout=word) for word in get_args(Readout)[::-1])
    mean.load_state_dict(last.state_dict())
    tokens = torch.tensor([[0, 1, 2, 3], [4, 1, 2, 3]])
    assert not torch.allclose(*last(tokens))
    assert not torch.allclose(last(tokens), mean(tokens))
    # Without attention to others a position has only itself to tell of.
    for module in last.modules():
        if isinstance(module, SelfAttention):
            torch.nn.init.zeros_(module.combine.weight)
    torch.testing.assert_close(*last(tokens))


def test_a_vocabulary_of_its_own_is_not_the_number_of_classes() -> None:
    assert lstm((4,), 2, vocabulary=50)(torch.tensor([[49, 0, 1, 2]])).shape == (1, 2)


def test_resnet_halves_the_image_at_each_stage_but_the_first() -> None:
    body = resnet_gn((1, 28, 28), 10, widths=(8, 16, 24)).body
    assert isinstance(body, nn.Sequential)
    assert body[:-2](torch.zeros(2, 1, 28, 28)).shape == (2, 24, 7, 7)


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda: logistic((3,), 1), "classes=1"),
        (lambda: logistic((), 2), r"shape=\(\)"),
        (lambda: mlp((3,), 2, hidden=(4, 0)), r"hidden\[1\]=0"),
        (lambda: mlp((3,), 2, activation="gelu"), "activation='gelu'"),  # type: ignore[arg-type]
        (lambda: cnn((30,), 2), "cnn needs images"),
        (lambda: cnn((1, 3, 3), 2), "at least 4"),
        (lambda: resnet_gn((1, 8, 8), 2, widths=()), "stages=0"),
        (lambda: resnet_gn((1, 2, 2), 2), "resnet-gn needs images"),
        (lambda: lstm((1, 8, 8), 2), "lstm needs token sequences"),
        (lambda: lstm((8,), 2, vocabulary=1), "vocabulary=1"),
        (lambda: transformer((8,), 2, width=30, heads=4), "width=30 must be a multiple of heads=4"),
        (lambda: transformer((8,), 2, readout="first"), "readout='first' must be one of: mean, last"),  # type: ignore[arg-type]
        (lambda: autoencoder((8,), hidden=()), "layers=0"),
    ],
)
def test_what_cannot_be_built_is_refused_by_name(build: Any, named: str) -> None:
    with pytest.raises(ModelError, match=named):
        build()
